"""Evaluate all sides of the guidance in one call of the network."""

from __future__ import annotations

from dataclasses import replace

from compiler.passes.driver import Change, Context, PassResult
from graphs.operands import Operand, Ref
from graphs.program import Program, Step

GUIDE, ENTRY, PLACE, ATTRIBUTE, JOINT = "guide", "entry", "place", "guidance", "joint"
APART = ("area", "mask")  # inputs of a place with which an entry sees another part of the latent than its neighbours


def fuse_guidance(program: Program, context: Context) -> PassResult[Program]:
    """Evaluate all sides of the guidance in one call of the network.

    1. A `guide` whose conditioning entries all see the whole latent evaluates them in one batch: guidance is "joint".
    At run time, those on which the same ControlNets act share a batch.
    2. With an entry that has an area or a mask it stays "separate", one call per entry.
    Bound: a batch of two gives each row what it gives alone up to the order of sums (1e-5 of the standard deviation).
    """
    makers = {name: step for step in program.steps for name in step.outputs}
    steps, changes = [], []
    for step in program.steps:
        if step.op == GUIDE and step.attrs.get(ATTRIBUTE) != JOINT and _can_join(step, makers):
            count = len(_entries(step))
            changes.append(Change(step.id, f"its {count} conditioning entries go through the network in one batch"))
            step = replace(step, attrs={**step.attrs, ATTRIBUTE: JOINT})
        steps.append(step)
    return PassResult(program.with_steps(tuple(steps)), tuple(changes)) if changes else PassResult(program)


def _can_join(guide: Step, makers: dict[str, Step]) -> bool:
    entries = [_maker(operand, ENTRY, makers) for operand in _entries(guide)]
    if len(entries) < 2:
        return False
    return all(entry is not None and _sees_all(entry, makers) for entry in entries)


def _sees_all(entry: Step, makers: dict[str, Step]) -> bool:
    if "place" not in entry.inputs:
        return True
    operand = entry.inputs["place"]
    place = None if isinstance(operand, tuple) else _maker(operand, PLACE, makers)
    return place is not None and not any(name in place.inputs for name in APART)


def _maker(operand: Operand, op: str, makers: dict[str, Step]) -> Step | None:
    step = makers.get(operand.name) if isinstance(operand, Ref) else None
    return step if step is not None and step.op == op else None


def _entries(guide: Step) -> tuple[Operand, ...]:
    sides = (value for name, value in guide.inputs.items() if name.startswith("sides."))
    return tuple(operand for side in sides for operand in (side if isinstance(side, tuple) else (side,)))
