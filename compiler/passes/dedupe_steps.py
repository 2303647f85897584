"""Compute equal values once."""

from __future__ import annotations

import json
from dataclasses import replace

from compiler.passes.driver import Change, Context, PassResult
from compiler.passes.rewrite import merged_nodes, replace_refs, restructured
from graphs.operands import Literal, Operand, OperandTree, Ref
from graphs.program import Program, Step

Key = tuple[object, ...]


def dedupe_steps(program: Program, context: Context) -> PassResult[Program]:
    """Compute equal values once.

    1. A pure step with the op, inputs, attributes, networks and model of an earlier one is removed; its outputs are
    those of the earlier one. Inputs are compared after merging what they refer to. Models are the same where their
    facts are: the weights that a step uses are those of its networks.
    2. Two parameters are never equal, whatever their defaults: a run may set them apart.
    3. The earlier step stands for the nodes of both.
    """
    first: dict[Key, int] = {}  # key -> position in kept
    kept: list[Step] = []
    renamed: dict[str, Operand] = {}
    changes: list[Change] = []
    for original in program.steps:
        (step,) = replace_refs((original,), renamed)
        if not context.ops[step.op].pure:
            kept.append(step)
            continue
        place = first.setdefault(_key(step, program), len(kept))
        if place == len(kept):
            kept.append(step)
            continue
        earlier = kept[place]
        renamed.update((name, Ref(same)) for name, same in zip(step.outputs, earlier.outputs, strict=True))
        kept[place] = replace(earlier, nodes=merged_nodes(earlier, step))
        changes.append(Change(step.id, f"the same as {earlier.id}"))
    if not changes:
        return PassResult(program)
    return PassResult(restructured(program, kept), tuple(changes))


def _key(step: Step, program: Program) -> Key:
    inputs = tuple((name, _tree(value)) for name, value in sorted(step.inputs.items()))
    attrs = json.dumps(dict(step.attrs), sort_keys=True)
    folding = (tuple(step.folded), step.folded_when)
    return (step.op, inputs, attrs, tuple(sorted(step.networks.items())), _model(step, program), folding)


def _model(step: Step, program: Program) -> object:
    """Before the file is open a model has no facts and is known by its name."""
    facts = program.models[step.model].facts if step.model is not None else {}
    return json.dumps(dict(facts), sort_keys=True) if facts else step.model


def _tree(value: OperandTree) -> object:
    return tuple(_operand(operand) for operand in value) if isinstance(value, tuple) else _operand(value)


def _operand(operand: Operand) -> object:
    """JSON values by type and text: 1, 1.0 and true differ, and lists are hashable."""
    if isinstance(operand, Literal):
        return ("literal", type(operand.value).__name__, json.dumps(operand.value, sort_keys=True))
    return operand
