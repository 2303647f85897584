"""Nodes of a workflow and the schema of their inputs and outputs. No networkx here: the runtime may import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

Json = Any  # a JSON value; Any only where JSON enters

COMBO = "COMBO"
WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", COMBO})
# What the front end does with a seed after a run: the value of a widget beside the seed's.
CONTROL_WORDS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
# Types that the front end shows as widgets beyond the five that the server converts.
BROWSER_WIDGETS = frozenset(
    {"COLOR", "COLORS", "CURVE", "BOUNDING_BOX", "BOUNDING_BOXES", "LOAD_3D", "LOAD_3D_ANIMATION", "WEBCAM"}
    | {"TEXTAREA", "MARKDOWN", "PAINTER", "RANGE", "IMAGECROP", "IMAGECOMPARE", "COMPOSITOR", "AUDIO_RECORD"}
    | {"VIDEO_EDIT", "CHART", "GALLERIA", "RESOLUTION_PREVIEW", "LIGHT_INFO_PREVIEW"}
)


@dataclass(frozen=True, slots=True)
class Link:
    """A reference to an output slot of another node."""

    node: str
    slot: int


@dataclass(frozen=True)
class Node:
    """One node, as the API format has it: every input is a Link or a widget value.

    id is a string, often digits, but also "57:8" (flattened subgraphs) or words. Never int(id).
    """

    id: str
    class_type: str
    inputs: Mapping[str, Link | Json] = field(default_factory=dict)
    title: str | None = None
    meta: Mapping[str, Json] = field(default_factory=dict)  # the rest of _meta, kept for the round trip

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", MappingProxyType(dict(self.inputs)))

    @cached_property
    def links(self) -> Mapping[str, Link]:
        """The linked inputs, in the order of the inputs; made once, since every pass asks."""
        return MappingProxyType({k: v for k, v in self.inputs.items() if isinstance(v, Link)})

    @property
    def widgets(self) -> dict[str, Json]:
        return {k: v for k, v in self.inputs.items() if not isinstance(v, Link)}


@dataclass(frozen=True)
class Input:
    """Schema of one input.

    type: "INT" "FLOAT" "STRING" "BOOLEAN" "COMBO" for widgets, else a socket type ("MODEL", "LATENT", "*", "A,B").
    folder: for COMBOs that list files of a model folder ("checkpoints", "loras", "vae", ...) or "input" pictures.
    """

    name: str
    type: str
    required: bool = True
    default: Json = None
    min: float | int | None = None
    max: float | int | None = None
    step: float | int | None = None
    round: float | None = None
    options: tuple[Json, ...] | None = None
    folder: str | None = None
    multiline: bool = False
    dynamic_prompts: bool = False
    force_input: bool = False
    control_after_generate: bool = False
    upload: str | None = None  # "image", "audio", "video": the frontend adds an upload button after this widget
    hidden: bool = False
    extra: Mapping[str, Json] = field(default_factory=dict)  # options of V3 inputs (templates, dynamic combos)

    @property
    def is_widget(self) -> bool:
        return self.type in WIDGET_TYPES and not self.force_input

    @property
    def takes_values(self) -> bool:
        """Whether a value may stand where no link does, though the server converts none of this type."""
        kinds = self.type.split(",")
        return self.type == "*" or self.type in BROWSER_WIDGETS or all(kind.strip() in WIDGET_TYPES for kind in kinds)

    @property
    def may_lack(self) -> bool:
        """Whether a node may go without any value for it, not even a default."""
        return not self.required and not (self.is_widget and self.default is not None)


@dataclass(frozen=True)
class Output:
    name: str
    type: str
    is_list: bool = False
