"""Compile-time values: frozen descriptions built up by loader and patch nodes. No loader exists at run time.

An open set: any frozen dataclass with a `socket`, the type that its links have in a workflow. A lower() takes one with
b.take(name, KIND) and gives one with b.output(slot, value).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from graphs.operands import Operand

Json = Any


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of the model folders. kind: the folder ("checkpoints", "vae", "loras"); name: as widgets write it."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class LoraUse:
    """One LoRA merged at a strength. side is "model" or "clip"."""

    file: ModelFile
    strength: float


@dataclass(frozen=True)
class WeightRecipe:
    """Where the weights of a network come from: a base file, or another recipe with one LoRA on top.

    Loaders nest recipes one LoRA at a time; the fuse pass flattens the chain into one recipe with `loras` in
    order, so that the merge is computed in one go and equal recipes compare equal.
    """

    base: ModelFile | WeightRecipe
    loras: tuple[LoraUse, ...] = ()


class CompileValue(Protocol):
    """A value that exists only while compiling. socket: "MODEL", "CLIP", ..."""

    socket: ClassVar[str]


@dataclass(frozen=True)
class ModelValue:
    """MODEL: the diffusion network with everything patched onto it.

    overrides: facts that patch nodes set (see graphs.program.ModelUse); the others are read from the file.
    differential: FLOAT, how far a noise mask says when a place is sampled instead of how much (DifferentialDiffusion).
    """

    socket: ClassVar[str] = "MODEL"
    weights: WeightRecipe
    overrides: Mapping[str, Json] = field(default_factory=dict)
    differential: Operand | None = None


@dataclass(frozen=True)
class ClipValue:
    """CLIP: the text encoder. stop_layer: as CLIPSetLastLayer has it (-1 last, -2 last but one); None: the default."""

    socket: ClassVar[str] = "CLIP"
    weights: WeightRecipe
    stop_layer: int | None = None


@dataclass(frozen=True)
class VaeValue:
    socket: ClassVar[str] = "VAE"
    weights: WeightRecipe


@dataclass(frozen=True)
class ControlNetValue:
    """CONTROL_NET. averaged: each residual is replaced by its mean over the picture (the "shuffle" ControlNet)."""

    socket: ClassVar[str] = "CONTROL_NET"
    weights: WeightRecipe
    averaged: bool = False


@dataclass(frozen=True)
class ControlUse:
    """One ControlNet on a conditioning entry. hint: IMAGE; strength, start_percent, end_percent: FLOAT.

    shared: where the other side has no ControlNet of its own, its entries get this one too (ControlNetApply).
    """

    net: ControlNetValue
    hint: Operand
    strength: Operand
    start_percent: Operand
    end_percent: Operand
    shared: bool = False


@dataclass(frozen=True)
class CondEntry:
    """One entry of a CONDITIONING list: the operands that hold its tensors, and its options.

    embedding: (1, 77*k, C) float32; pooled: (1, P) float32 or None. text_model: the clip that made it.
    options: JSON values (area, strength, start/end percent). tensors: more operands by name (mask). controls: in the
    order in which they were applied; their residuals add.
    """

    embedding: Operand
    pooled: Operand | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    tensors: Mapping[str, Operand] = field(default_factory=dict)
    controls: tuple[ControlUse, ...] = ()


@dataclass(frozen=True)
class Conditioning:
    """CONDITIONING: a compile-time list of entries whose tensors exist at run time."""

    socket: ClassVar[str] = "CONDITIONING"
    entries: tuple[CondEntry, ...]


Value = CompileValue | Operand

# Types of links that only such values have: a node that makes nothing else is gone in the plan. CONDITIONING is not
# among them: its tensors are made at run time.
COMPILE_TIME_TYPES = frozenset(kind.socket for kind in (ModelValue, ClipValue, VaeValue, ControlNetValue))
