"""The lowered form of a workflow: steps over a small op set, networks they call, parameters they take.

A lower() function sees three kinds of value:
  compile-time values (ModelValue, ClipValue, VaeValue, ControlNetValue, Conditioning): frozen descriptions built up by
    loader and patch nodes; no loader exists at run time;
  operands (Ref, Param, Const, Literal): what a step takes at run time;
  steps, which it emits through the Builder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from graphs.node import Node

Json = Any


# --- operands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ref:
    """The value a step produced. name is unique in the program, e.g. "3.latent"."""

    name: str


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of the plan, "NODE.INPUT": set per run, with the workflow's value as default."""

    name: str


@dataclass(frozen=True, slots=True)
class Const:
    """A tensor in constants.safetensors."""

    key: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A JSON value fixed at compile time (frozen parameters, values no user sets)."""

    value: Json


Operand = Ref | Param | Const | Literal
OperandTree = Operand | tuple[Operand, ...]


# --- compile-time values --------------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class ModelValue:
    """MODEL: the diffusion network with everything patched onto it. prediction None: read from the checkpoint.

    differential: FLOAT, how far a noise mask says when a place is sampled instead of how much (DifferentialDiffusion).
    """

    weights: WeightRecipe
    prediction: str | None = None
    differential: Operand | None = None


@dataclass(frozen=True)
class ClipValue:
    """CLIP: the text encoder. stop_layer: as CLIPSetLastLayer has it (-1 last, -2 last but one); None: the default."""

    weights: WeightRecipe
    stop_layer: int | None = None


@dataclass(frozen=True)
class VaeValue:
    weights: WeightRecipe


@dataclass(frozen=True)
class ControlNetValue:
    """CONTROL_NET. averaged: each residual is replaced by its mean over the picture (the "shuffle" ControlNet)."""

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

    entries: tuple[CondEntry, ...]


CompileValue = ModelValue | ClipValue | VaeValue | ControlNetValue | Conditioning
Value = CompileValue | Operand


# --- program --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """Something a run may set. type: INT FLOAT STRING BOOLEAN COMBO, or IMAGE_FILE, LATENT_FILE (input folder)."""

    name: str
    type: str
    default: Json
    min: float | int | None = None
    max: float | int | None = None
    options: tuple[Json, ...] | None = None


@dataclass(frozen=True)
class NetworkUse:
    """A network a program calls. kind is a key of compiler.networks.NETWORKS, e.g. "unet", "unet_core",
    "unet_context", "unet_time", "controlnet_hint", "vae_decoder", "vae_decoder_u8", "vae_encoder", "clip_text".

    options: what changes the exported graph beyond the architecture (e.g. {"stop_layer": -2}); part of the engine key.
    """

    id: str
    kind: str
    weights: WeightRecipe
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One instruction. op is a key of graphs.ops.OPS.

    inputs: by name, an operand or a tuple of operands. attrs: JSON fixed at compile time. outputs: names that
    Ref may mention, one per output of the op. networks: role -> NetworkUse.id. nodes: the workflow nodes it stands for.
    frees: refs dead after this step (written by the schedule pass). folded: output name -> key in
    constants.safetensors, valid while every parameter in folded_when has its default (written by the fold pass): every
    output that some step uses.
    """

    id: str
    op: str
    inputs: Mapping[str, OperandTree] = field(default_factory=dict)
    attrs: Mapping[str, Json] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    frees: tuple[str, ...] = ()
    folded: Mapping[str, str] = field(default_factory=dict)
    folded_when: tuple[str, ...] = ()

    def operands(self) -> tuple[Operand, ...]:
        """Every operand, in the order of the inputs, tuples flattened."""
        flat: list[Operand] = []
        for value in self.inputs.values():
            flat.extend(value) if isinstance(value, tuple) else flat.append(value)
        return tuple(flat)

    def refs(self) -> tuple[str, ...]:
        return tuple(o.name for o in self.operands() if isinstance(o, Ref))

    def params(self) -> tuple[str, ...]:
        return tuple(o.name for o in self.operands() if isinstance(o, Param))


@dataclass(frozen=True)
class Program:
    """Steps in an order in which every Ref is produced before it is used."""

    steps: tuple[Step, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    networks: Mapping[str, NetworkUse] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))
        object.__setattr__(self, "networks", MappingProxyType(dict(self.networks)))

    def with_steps(self, steps: tuple[Step, ...]) -> Program:
        return replace(self, steps=steps)


class Builder(Protocol):
    """What a lower() function may do. Implemented by compiler.lower."""

    def value(self, name: str) -> Value:
        """The lowered value of a linked input; for a widget the Param operand (made on first use)."""

    def has(self, name: str) -> bool:
        """Whether the optional input is given."""

    def constant(self, name: str) -> Json:
        """A widget value that must be known at compile time (file names of loaders, LoRA strengths).

        A parameter that is read this way is not a parameter of the plan."""

    def model(self, name: str = "model") -> ModelValue: ...

    def clip(self, name: str = "clip") -> ClipValue: ...

    def vae(self, name: str = "vae") -> VaeValue: ...

    def control_net(self, name: str = "control_net") -> ControlNetValue: ...

    def conditioning(self, name: str) -> Conditioning: ...

    def operand(self, name: str) -> Operand:
        """The input as a run-time operand (LATENT, IMAGE, MASK, or a widget)."""

    def network(self, kind: str, weights: WeightRecipe, **options: Json) -> str:
        """Registers a network use and returns its id; equal uses share one id."""

    def emit(
        self,
        op: str,
        inputs: Mapping[str, OperandTree] | None = None,
        attrs: Mapping[str, Json] | None = None,
        networks: Mapping[str, str] | None = None,
    ) -> tuple[Ref, ...]:
        """Appends a step and returns a Ref per output of the op."""

    def output(self, slot: int, value: Value) -> None:
        """Sets what an output slot of this node yields."""

    @property
    def node(self) -> Node: ...
