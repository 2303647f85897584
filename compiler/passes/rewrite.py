"""Rewriting the operands of steps: what several passes do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from graphs.operands import Operand, OperandTree, Ref
from graphs.program import Program, Step


def replace_operands(steps: Iterable[Step], new: Callable[[Operand], Operand]) -> tuple[Step, ...]:
    """The steps with every operand mapped; a step in which none changes stays the same object."""
    return tuple(_replaced(step, new) for step in steps)


def replace_refs(steps: Iterable[Step], new: Mapping[str, Operand]) -> tuple[Step, ...]:
    """The steps with the refs of these names replaced."""
    return replace_operands(steps, lambda o: new.get(o.name, o) if isinstance(o, Ref) else o) if new else tuple(steps)


def uses(program: Program) -> dict[str, list[Step]]:
    """Ref name -> the steps that use it, once per step."""
    found: dict[str, list[Step]] = {}
    for step in program.steps:
        for name in dict.fromkeys(step.refs()):
            found.setdefault(name, []).append(step)
    return found


def merged_nodes(*steps: Step) -> tuple[str, ...]:
    """The workflow nodes that several steps stand for, in order, once each."""
    return tuple(dict.fromkeys(node for step in steps for node in step.nodes))


def restructured(program: Program, steps: Iterable[Step]) -> Program:
    """The program with other steps, none of which frees or releases anything: values and networks may live longer now,
    or be gone. The schedule pass decides that again."""
    return program.with_steps(
        tuple(replace(step, frees=(), releases=()) if step.frees or step.releases else step for step in steps)
    )


class Names:
    """Names for new steps, values and networks that are not taken yet."""

    def __init__(self, program: Program) -> None:
        self._steps = {step.id for step in program.steps}
        self._values = {name for step in program.steps for name in step.outputs}
        self._networks = set(program.networks)

    def step(self, name: str) -> str:
        return _untaken(name, self._steps)

    def value(self, name: str) -> str:
        return _untaken(name, self._values)

    def network(self, name: str) -> str:
        return _untaken(name, self._networks)


def _untaken(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}.{number}"
    taken.add(candidate)
    return candidate


def _replaced(step: Step, new: Callable[[Operand], Operand]) -> Step:
    changed: dict[str, OperandTree] = {}
    for name, value in step.inputs.items():
        if isinstance(value, tuple):
            items = tuple(new(operand) for operand in value)
            if any(item is not old for item, old in zip(items, value, strict=True)):
                changed[name] = items
        elif (item := new(value)) is not value:
            changed[name] = item
    return replace(step, inputs={**step.inputs, **changed}) if changed else step
