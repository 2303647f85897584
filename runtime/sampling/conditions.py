"""The values that sampling is made of, as the ops `place`, `span`, `control`, `entry` and `guide` give them.

They say what the workflow says; what it means for a latent of some size and a schedule of some model is worked out when
sampling begins (runtime.sampling.entries).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.backends.backend import Module

Json = Any
LoadModule = Callable[[str], "Module"]  # by role; loads the engine on first use


@dataclass(frozen=True, eq=False)
class Place:
    """Where in the picture an entry counts, and how strongly.

    area: (height, width, y, x) in pixels of the picture, or in shares of it. strength: its weight where entries
    overlap. mask: (B, H, W) of any size, times mask_strength. bounds: evaluate only the bounding box of the mask.
    """

    area: tuple[float, float, float, float] | None = None
    shares: bool = False
    strength: float = 1.0
    mask: Tensor | None = None
    mask_strength: float = 1.0
    bounds: bool = False


@dataclass(frozen=True)
class Span:
    """When in the schedule something counts: from start to end, in shares of the model's timesteps."""

    start: float = 0.0
    end: float = 1.0


ALWAYS = Span()


@dataclass(frozen=True, eq=False)
class Text:
    """A prompt as one network takes it.

    tensor: (B or 1, T, K), an embedding or, hoisted, the keys and values that the network's cross-attentions make of
    it. vector: (B or 1, V), the vector condition of networks that have one. times: hoisted, (timesteps (n,), rows
    (n, E)), the time embeddings of a schedule, which depend on the vector where there is one.
    """

    tensor: Tensor
    vector: Tensor | None = None
    times: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Control:
    """A ControlNet with its hint and the text of one entry. hint: (B, H, W, 3). modules: roles controlnet,
    controlnet_hint and, hoisted, controlnet_time.

    averaged: its residuals are replaced by their means over the picture."""

    modules: LoadModule
    hint: Tensor
    text: Text
    strength: float
    span: Span = ALWAYS
    averaged: bool = False


@dataclass(frozen=True, eq=False)
class Condition:
    """One entry of a conditioning.

    concat: (B or 1, C, h, w), channels that the network takes beside the latent's. controls: every ControlNet of the
    guider, with this entry's text. acting: which of them act on this entry, in order: (index, whether sides without a
    ControlNet share it).
    """

    text: Text
    concat: Tensor | None = None
    place: Place = field(default_factory=Place)
    span: Span = ALWAYS
    controls: tuple[Control, ...] = ()
    acting: tuple[tuple[int, bool], ...] = ()


@dataclass(frozen=True)
class Patch:
    """A function in the guider's chain, by its name in runtime.sampling.patches, with its operands."""

    name: str
    operands: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Guider:
    """How predictions come about: sides of entries by name, numbers by name (cfg), and a chain of patches.

    kind: a key of runtime.sampling.guiders.GUIDERS. modules: roles denoiser and, hoisted, denoiser_time. facts: of the
    model (runtime.context). residuals: [channels, halvings] of what the denoiser takes of ControlNets. joint: entries
    that can share a call do.
    """

    kind: str
    sides: Mapping[str, tuple[Condition, ...]]
    numbers: Mapping[str, float]
    patches: tuple[Patch, ...]
    modules: LoadModule
    facts: Mapping[str, Json]
    residuals: tuple[tuple[int, int], ...] = ()
    joint: bool = False
