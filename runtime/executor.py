"""Runs steps. It decides nothing: `select` says beforehand which steps run, which are folded, and what dies when."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphs.operands import Const, Literal, Operand, OperandTree, Param, Ref
from graphs.ops import OPS, OpSpec
from graphs.program import Program, Step
from runtime.context import OpContext
from runtime.ops import Op

if TYPE_CHECKING:
    from runtime.sampling.batching import Calls

Value = Any  # whatever an op gives: see graphs.ops


@dataclass(frozen=True)
class Instruction:
    """One step of a run. folded: its outputs are read from the constants. frees: values that are dead after it."""

    step: Step
    folded: bool
    frees: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """values: those that were asked for, by name. step_ms: milliseconds by step, of the steps that ran."""

    values: Mapping[str, Value]
    step_ms: Mapping[str, float]


def select(
    program: Program,
    *,
    changed: Collection[str] = (),
    keep: Collection[str] = (),
    specs: Mapping[str, OpSpec] = OPS,
    effects: bool = True,
) -> tuple[Instruction, ...]:
    """The steps of one run, in the program's order: those with an effect, and what they and `keep` need.

    A step whose outputs are folded needs nothing, as long as no parameter of its folded_when is in changed.
    effects: False leaves out what only the effects need (to compute `keep` alone, as folding does).
    """
    needed, chosen = set(keep), []
    for step in reversed(program.steps):
        used = needed.intersection(step.outputs)
        if not used and not (effects and not specs[step.op].pure):
            continue
        folded = bool(used) and used <= step.folded.keys() and not set(step.folded_when).intersection(changed)
        chosen.append((step, folded))
        if not folded:
            needed.update(step.refs())
    alive, instructions = set(keep), []
    for step, folded in chosen:
        touched = dict.fromkeys((*(() if folded else step.refs()), *step.outputs))
        instructions.append(Instruction(step, folded, tuple(name for name in touched if name not in alive)))
        alive.update(touched)
    return tuple(reversed(instructions))


def execute(
    instructions: Sequence[Instruction],
    *,
    op: Callable[[str], Op],
    context: Callable[[Step], OpContext],
    params: Mapping[str, Value],
    constants: Mapping[str, Value],
    keep: Collection[str] = (),
    check: Callable[[Step, Mapping[str, Value]], None] | None = None,
) -> Calls[Outcome]:
    """Calls the ops one after the other, and yields what they yield: see runtime.sampling.batching for who answers.

    check: called with the inputs of each op before it runs. Whatever context(), check() or an op raises ends the run,
    with the step noted on it.
    """
    values: dict[str, Value] = {}
    step_ms: dict[str, float] = {}

    def resolve(tree: OperandTree) -> Value:
        if isinstance(tree, tuple):
            return tuple(_resolved(operand, values, params, constants) for operand in tree)
        return _resolved(tree, values, params, constants)

    for instruction in instructions:
        step = instruction.step
        if instruction.folded:
            values.update((name, constants[key]) for name, key in step.folded.items())
        else:
            started = time.perf_counter()
            try:
                inputs = {name: resolve(tree) for name, tree in step.inputs.items()}
                if check is not None:
                    check(step, inputs)
                results = op(step.op)(context(step), **grouped(inputs))
                if isinstance(results, Generator):
                    results = yield from results
            except Exception as error:
                error.add_note(f"while running step {step.id} ({step.op})")
                raise
            del inputs
            values.update(zip(step.outputs, results if len(step.outputs) > 1 else (results,), strict=True))
            del results
            step_ms[step.id] = 1000 * (time.perf_counter() - started)
        for name in instruction.frees:
            values.pop(name, None)
    return Outcome({name: values[name] for name in keep}, step_ms)


def grouped(inputs: Mapping[str, Value]) -> dict[str, Value]:
    """Inputs as the op's function takes them: those of a group, "GROUP.NAME", as one mapping."""
    found: dict[str, Value] = {}
    for name, value in inputs.items():
        group, dot, member = name.partition(".")
        if dot:
            found.setdefault(group, {})[member] = value
        else:
            found[name] = value
    return found


def _resolved(
    operand: Operand, values: Mapping[str, Value], params: Mapping[str, Value], constants: Mapping[str, Value]
) -> Value:
    match operand:
        case Ref(name):
            return values[name]
        case Param(name):
            return params[name]
        case Const(key):
            return constants[key]
        case Literal(value):
            return value
