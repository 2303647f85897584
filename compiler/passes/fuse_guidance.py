"""Evaluate both sides of the guidance in one call of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from compiler.passes.driver import Change, Context, PassResult
from graphs.program import Program, Step

Json = Any

SAMPLE, ATTRIBUTE, JOINT, SEPARATE = "sample", "guidance", "joint", "separate"
SIDES = ("positive", "negative")
# Options of a conditioning entry with which it sees another part of the latent, or other inputs, than its neighbours.
APART = frozenset({"area", "mask", "gligen"})


def fuse_guidance(program: Program, context: Context) -> PassResult[Program]:
    """Evaluate both sides of the guidance in one call of the network.

    1. A `sample` whose conditioning entries all see the whole latent evaluates them in one batch: guidance is "joint".
    At run time, those on which the same ControlNets act share a batch.
    2. With an entry that has an area or a mask it stays "separate", one call per entry.
    Bound: a batch of two gives each row what it gives alone up to the order of sums (1e-5 of the standard deviation).
    """
    steps, changes = [], []
    for step in program.steps:
        if step.op == SAMPLE and step.attrs.get(ATTRIBUTE) != JOINT and _can_join(step):
            entries = sum(len(_entries(step, side)) for side in SIDES)
            changes.append(Change(step.id, f"its {entries} conditioning entries go through the network in one batch"))
            step = replace(step, attrs={**step.attrs, ATTRIBUTE: JOINT})
        steps.append(step)
    return PassResult(program.with_steps(tuple(steps)), tuple(changes)) if changes else PassResult(program)


def _can_join(step: Step) -> bool:
    options: list[Mapping[str, Json]] = [entry for side in SIDES for entry in step.attrs.get(side) or ()]
    return all(_entries(step, side) for side in SIDES) and all(APART.isdisjoint(entry) for entry in options)


def _entries(step: Step, side: str) -> tuple[object, ...]:
    value = step.inputs[side]
    return value if isinstance(value, tuple) else (value,)
