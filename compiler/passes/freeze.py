"""Fix parameters for good."""

from __future__ import annotations

from dataclasses import replace

from compiler.passes.driver import Change, Context, PassResult
from compiler.passes.rewrite import replace_operands
from graphs.operands import Literal, Operand, Param
from graphs.program import Program


def freeze(program: Program, context: Context) -> PassResult[Program]:
    """Fix parameters for good.

    1. A parameter that CompileOptions.freeze names becomes its default, a literal, wherever it is used.
    2. It is no longer a parameter of the plan.
    """
    fixed = {name: Literal(p.default) for name, p in program.parameters.items() if name in context.options.freeze}
    if not fixed:
        return PassResult(program)

    def literal(operand: Operand) -> Operand:
        return fixed.get(operand.name, operand) if isinstance(operand, Param) else operand

    steps = tuple(
        replace(step, folded_when=tuple(name for name in step.folded_when if name not in fixed))
        if step.folded_when
        else step
        for step in replace_operands(program.steps, literal)
    )
    parameters = {name: p for name, p in program.parameters.items() if name not in fixed}
    changes = tuple(Change(name, f"frozen at {value.value!r}") for name, value in fixed.items())
    return PassResult(replace(program, steps=steps, parameters=parameters), changes)
