"""The lowered form of a workflow: steps over a small op set, networks they call, parameters they take.

A lower() function sees three kinds of value:
  compile-time values (graphs.values): descriptions of models, texts and conditionings;
  operands (graphs.operands): where a step gets a value from at run time;
  steps, which it emits through the Builder (graphs.definition).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from graphs.operands import Operand, OperandTree, Param, Ref
from graphs.values import Weights

Json = Any


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
    """A network a program calls. kind is a role (graphs.roles) as it is lowered; once its file is open a key of
    compiler.networks.NETWORKS: "unet", "unet_core", "vae_decoder_u8", "clip_l" ...

    options: what changes the exported graph beyond the architecture (e.g. {"stop_layer": -2}); part of the engine key.
    """

    id: str
    kind: str
    weights: Weights
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelUse:
    """A model that steps sample with. Steps name it, so that its facts stand once in the program.

    overrides: facts that patch nodes set in place of what the file says, e.g. {"prediction": "v"}. facts: filled in by
    compiler.linking.specialise once the file is open, overrides merged in; runtime.context.OpContext lists them.
    """

    id: str
    weights: Weights
    overrides: Mapping[str, Json] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One instruction. op is a key of graphs.ops.OPS.

    inputs: by name, an operand or a tuple of operands. attrs: JSON fixed at compile time. outputs: names that
    Ref may mention, one per output of the op. networks: role -> NetworkUse.id. model: ModelUse.id, of a step that needs
    facts of its model. nodes: the workflow nodes it stands for.
    frees: refs dead after this step, and releases: NetworkUse.ids that no later step calls (the schedule pass writes
    both). folded: output name -> key in constants.safetensors, valid while every parameter in folded_when has its
    default (written by the fold pass): every output that some step uses.
    """

    id: str
    op: str
    inputs: Mapping[str, OperandTree] = field(default_factory=dict)
    attrs: Mapping[str, Json] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    frees: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    folded: Mapping[str, str] = field(default_factory=dict)
    folded_when: tuple[str, ...] = ()
    model: str | None = None

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
    models: Mapping[str, ModelUse] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))
        object.__setattr__(self, "networks", MappingProxyType(dict(self.networks)))
        object.__setattr__(self, "models", MappingProxyType(dict(self.models)))

    def facts_of(self, step: Step) -> Mapping[str, Json]:
        """Facts of the model that a step names; empty where it names none."""
        return {} if step.model is None else self.models[step.model].facts

    def with_steps(self, steps: tuple[Step, ...]) -> Program:
        return replace(self, steps=steps)
