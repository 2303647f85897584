"""Skip steps that only pass a value on."""

from __future__ import annotations

from compiler.passes.driver import Change, Context, PassResult
from compiler.passes.rewrite import replace_refs, restructured
from graphs.operands import Operand, Ref
from graphs.program import Program

IDENTITY = "identity"


def forward_identity(program: Program, context: Context) -> PassResult[Program]:
    """Skip steps that only pass a value on.

    1. Who uses the output of an `identity` step takes the step's operand instead.
    2. The identity step is removed.
    """
    values: dict[str, Operand] = {}
    changes = []
    for step in program.steps:
        if step.op != IDENTITY or len(step.operands()) != 1:
            continue
        (operand,) = step.operands()
        operand = values.get(operand.name, operand) if isinstance(operand, Ref) else operand
        values.update(dict.fromkeys(step.outputs, operand))
        changes.append(Change(step.id, "only passes a value on"))
    if not changes:
        return PassResult(program)
    gone = {change.node for change in changes}
    steps = replace_refs((step for step in program.steps if step.id not in gone), values)
    return PassResult(restructured(program, steps), tuple(changes))
