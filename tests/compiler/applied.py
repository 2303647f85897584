"""What tests of passes do with each: run it, and check what holds for every pass."""

from __future__ import annotations

from compiler.dump import program_text
from compiler.options import CompileOptions
from compiler.passes.driver import Context, PassFunction
from compiler.passes.verify import verify_program_step
from graphs.ops import OPS
from graphs.program import Program


def applied(run: PassFunction[Program], before: Program, context: Context | None = None) -> tuple[Program, list[str]]:
    """The program after the pass and its changes as text, after checking what holds for every pass."""
    context = context or Context()
    result = run(before, context)
    assert list(verify_program_step(before, result.value, OPS)) == []
    assert (result.value is before) == (not result.changes)
    again = run(result.value, context)
    assert again.changes == ()
    assert again.value is result.value
    return result.value, [f"{c.node}: {c.reason}" for c in result.changes]


def frozen(*names: str) -> Context:
    return Context(options=CompileOptions(freeze=names))


def lines(value: Program) -> list[str]:
    return program_text(value).splitlines()
