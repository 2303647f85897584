"""Compute at compile time what depends on constants and defaults only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compiler.passes.driver import Change, Context, PassResult
from compiler.passes.rewrite import replace_refs, restructured, uses
from graphs.operands import Const, Literal, Operand, Param, Ref
from graphs.ops import OpSpec
from graphs.program import Program, Step


def fold(program: Program, context: Context) -> PassResult[Program]:
    """Compute at compile time what depends on constants and defaults only.

    1. A step is constant when its op is foldable and each operand is a literal, a constant, a parameter, or the output
    of a constant step.
    2. The values of constant steps that some step uses are computed now, by Context.folder, with every parameter at its
    default, into constants.safetensors.
    3. A constant step that depends on parameters stays and is marked: `folded` names the tensors, `folded_when` the
    parameters, all of which must have their defaults for the tensors to hold. A step with a used output that is None is
    not marked: it is cheap to tell a missing tensor from a missing value only when there are none.
    4. A constant step that depends on no parameter is removed, and its users take the constants (a value that is None:
    the literal null).
    5. Nothing is folded without a folder. What is marked already stays as it is.
    """
    depends = constant_steps(program, context.ops)
    used = uses(program)
    wanted = {
        name: f"folded/{name}"
        for step in program.steps
        if step.id in depends and not step.folded
        for name in step.outputs
        if name in used
    }
    if context.folder is None or not wanted:
        return PassResult(program)
    stored = context.folder(program, wanted)
    steps: list[Step] = []
    changes: list[Change] = []
    constants: dict[str, Operand] = {}
    for step in program.steps:
        names = [name for name in step.outputs if name in wanted]
        if not names:
            steps.append(step)
            continue
        parameters = depends[step.id]
        if parameters:
            folded = {name: key for name in names if (key := stored[name]) is not None}
            if len(folded) == len(names):
                step = replace(step, folded=folded, folded_when=parameters)
                changes.append(Change(step.id, f"computed now, for the defaults of {', '.join(parameters)}"))
            steps.append(step)
            continue
        constants.update((name, _constant(stored[name])) for name in names)
        changes.append(Change(step.id, "computed now, for good"))
    if not changes:
        return PassResult(program)
    return PassResult(restructured(program, replace_refs(steps, constants)), tuple(changes))


def constant_steps(program: Program, ops: Mapping[str, OpSpec]) -> dict[str, tuple[str, ...]]:
    """Step id -> the parameters it depends on, in the order of first use, for every constant step."""
    found: dict[str, tuple[str, ...]] = {}
    values: dict[str, tuple[str, ...]] = {}  # output -> parameters behind it
    for step in program.steps:
        behind = [_behind(operand, values) for operand in step.operands()]
        if not ops[step.op].foldable or any(parameters is None for parameters in behind):
            continue
        found[step.id] = tuple(dict.fromkeys(name for parameters in behind for name in parameters or ()))
        values.update(dict.fromkeys(step.outputs, found[step.id]))
    return found


def constants_needed(program: Program) -> frozenset[str]:
    """The keys of constants.safetensors that a program mentions: what a plan has to carry."""
    keys = {operand.key for step in program.steps for operand in step.operands() if isinstance(operand, Const)}
    return frozenset(keys.union(*(step.folded.values() for step in program.steps)))


def _behind(operand: Operand, values: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    if isinstance(operand, Ref):
        return values.get(operand.name)
    return (operand.name,) if isinstance(operand, Param) else ()


def _constant(key: str | None) -> Operand:
    return Literal(None) if key is None else Const(key)
