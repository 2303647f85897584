"""Operands: where a step gets a value from at run time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = Any


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
