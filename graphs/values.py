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
class Lora:
    """The weights of `of` with one LoRA on top. Order matters: DoRA, GLoRA and OFT depend on the weights they find."""

    of: Weights
    file: ModelFile
    strength: float


@dataclass(frozen=True, slots=True)
class Merge:
    """Two models in one: a tensor of `a` times of_a plus the same tensor of `b` times of_b.

    shares: (prefix of the tensor's name inside its part, of_a, of_b); the longest prefix that fits a tensor decides,
    "" is for the rest. A tensor without a share stays that of `a`.
    """

    a: Weights
    b: Weights
    shares: tuple[tuple[str, float, float], ...]


Weights = ModelFile | Lora | Merge  # where the weights of a network come from: a tree whose leaves are files


def base_file(weights: Weights) -> ModelFile:
    """The file whose architecture the weights have: that of the first leaf."""
    while not isinstance(weights, ModelFile):
        weights = weights.of if isinstance(weights, Lora) else weights.a
    return weights


def files(weights: Weights) -> tuple[ModelFile, ...]:
    """Every file of the tree, the base file first."""
    match weights:
        case ModelFile():
            return (weights,)
        case Lora(of, file, _):
            return (*files(of), file)
        case Merge(a, b, _):
            return (*files(a), *files(b))


class CompileValue(Protocol):
    """A value that exists only while compiling. socket: "MODEL", "CLIP", ..."""

    socket: ClassVar[str]


@dataclass(frozen=True)
class ModelPatch:
    """A function that guidance goes through, by its name in runtime.sampling.patches. operands: its numbers."""

    name: str
    operands: tuple[Operand, ...] = ()


@dataclass(frozen=True)
class ModelValue:
    """MODEL: the diffusion network with everything patched onto it.

    overrides: facts that patch nodes set (see graphs.program.ModelUse); the others are read from the file. patches: the
    chain of functions that guidance goes through, in the order in which they were applied.
    """

    socket: ClassVar[str] = "MODEL"
    weights: Weights
    overrides: Mapping[str, Json] = field(default_factory=dict)
    patches: tuple[ModelPatch, ...] = ()


@dataclass(frozen=True)
class ClipValue:
    """CLIP: the text encoders of a model.

    weights: of the file that has them all, or of one file for each. stop_layer: of CLIPSetLastLayer (-1 last, -2 last
    but one); None: the family's own.
    """

    socket: ClassVar[str] = "CLIP"
    weights: tuple[Weights, ...]
    stop_layer: int | None = None


@dataclass(frozen=True)
class VaeValue:
    socket: ClassVar[str] = "VAE"
    weights: Weights


@dataclass(frozen=True)
class ControlNetValue:
    """CONTROL_NET. averaged: each residual is replaced by its mean over the picture (the "shuffle" ControlNet)."""

    socket: ClassVar[str] = "CONTROL_NET"
    weights: Weights
    averaged: bool = False


@dataclass(frozen=True)
class ControlUse:
    """One ControlNet on a conditioning entry. hint: IMAGE; strength: FLOAT; span: (start, end), FLOAT shares of the
    schedule; None: always.

    shared: where the other side has no ControlNet of its own, its entries get this one too (ControlNetApply).
    """

    net: ControlNetValue
    hint: Operand
    strength: Operand
    span: tuple[Operand, Operand] | None = None
    shared: bool = False


@dataclass(frozen=True)
class ConcatUse:
    """Channels that the model is given beside the latent's. image: LATENT of a picture; mask: MASK of what to paint."""

    image: Operand
    mask: Operand | None = None


@dataclass(frozen=True)
class PlaceUse:
    """Where in the picture an entry counts, and how strongly.

    area: height, width, y, x: INT in pixels, or FLOAT in shares of the picture where shares is set. mask: MASK.
    set_cond_area: COMBO of ConditioningSetMask. None: as where no node sets it.
    """

    area: tuple[Operand, Operand, Operand, Operand] | None = None
    shares: bool = False
    strength: Operand | None = None
    mask: Operand | None = None
    mask_strength: Operand | None = None
    set_cond_area: Operand | None = None


@dataclass(frozen=True)
class CondEntry:
    """One entry of a CONDITIONING list: the operands that hold its tensors, and where, when and how it counts.

    embedding: (1, 77*k, C) float32; pooled: (1, P) float32 or None. sizes: the numbers of a vector condition, as
    text_sizes gives them; None: those of the latent. concat: None: the model is shown no picture. span: (start, end),
    FLOAT shares of the schedule; None: always. controls: in the order in which they were applied; their residuals add.
    """

    embedding: Operand
    pooled: Operand | None = None
    sizes: Operand | None = None
    concat: ConcatUse | None = None
    place: PlaceUse = PlaceUse()
    span: tuple[Operand, Operand] | None = None
    controls: tuple[ControlUse, ...] = ()


@dataclass(frozen=True)
class Conditioning:
    """CONDITIONING: a compile-time list of entries whose tensors exist at run time."""

    socket: ClassVar[str] = "CONDITIONING"
    entries: tuple[CondEntry, ...]


@dataclass(frozen=True)
class NoiseValue:
    """NOISE: what sampling starts from. seed: INT, of the noise that samplers draw, too. drawn: False: it starts from
    none."""

    socket: ClassVar[str] = "NOISE"
    seed: Operand
    drawn: bool = True


@dataclass(frozen=True)
class GuiderValue:
    """GUIDER: a model, and how its predictions on some conditionings become one.

    kind, sides, numbers: see runtime.sampling.guiders; numbers are FLOAT.
    """

    socket: ClassVar[str] = "GUIDER"
    kind: str
    model: ModelValue
    sides: Mapping[str, Conditioning]
    numbers: Mapping[str, Operand] = field(default_factory=dict)


Value = CompileValue | Operand

# Types of links that only such values have: a node that makes nothing else is gone in the plan. CONDITIONING is not
# among them: its tensors are made at run time.
COMPILE_TIME_TYPES = frozenset(
    kind.socket for kind in (ModelValue, ClipValue, VaeValue, ControlNetValue, NoiseValue, GuiderValue)
)
