"""Steps get values of the kinds that they take: checked when a plan is opened, on every workflow that we have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compiler.lowering.lower import lower
from graphs.errors import WorkflowError
from graphs.examples import example
from graphs.operands import Literal, OperandTree, Param, Ref
from graphs.ops import OPS
from graphs.plan_operands import operand_kinds
from graphs.program import Program
from graphs.schemas import builtin
from graphs.workflow import read_workflow

GOLDENS = Path(__file__).parents[1] / "parity" / "data"
WORKFLOWS = sorted(GOLDENS.glob("goldens*/*/workflow.json"))


def amiss(program: Program) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    made: dict[str, str] = {}
    for step in program.steps:
        found += operand_kinds(step, made, program.parameters)
        if step.op in OPS.own:
            made.update(zip(step.outputs, OPS[step.op].outputs, strict=True))
    return found


def test_every_recorded_workflow_has_the_right_kinds() -> None:
    tried = 0
    for path in WORKFLOWS:
        try:
            program = lower(read_workflow(path, builtin()))
        except WorkflowError:  # a class that is not compiled yet
            continue
        tried += 1
        assert amiss(program) == [], path
    assert tried > 200


@pytest.mark.parametrize(
    ("op", "name", "operand", "expected"),
    [
        ("empty_latent", "height", Literal([1]), "a number for height"),
        ("empty_latent", "width", Literal("64"), "a number for width"),
        ("empty_latent", "width", Literal(True), "a number for width"),
        ("empty_latent", "width", Param("6.text"), "a number for width"),
        ("empty_latent", "width", (Literal(64),), "one value for width"),
        ("make_sigmas", "scheduler", Literal(["x"]), "a text for scheduler"),
        ("make_sigmas", "scheduler", Param("3.steps"), "a text for scheduler"),
        ("sampler", "name", Literal({}), "a text for name"),
        ("sample", "latent", Literal(1), "latent that a step makes"),
        ("sample", "latent", Param("3.steps"), "latent that a step makes"),
        ("sample", "latent", Ref("5.sigmas"), "latent"),
        ("save_image", "image_u8", Ref("5.latent"), "image_u8"),
    ],
)
def test_what_a_step_cannot_take(op: str, name: str, operand: OperandTree, expected: str) -> None:
    program = lower(read_workflow(example("default"), builtin()))
    made = {"5.latent": "latent", "5.sigmas": "sigmas"}
    step = next(s for s in program.steps if s.op == op)
    changed = replace(step, inputs={**step.inputs, name: operand})
    assert [what for what, _ in operand_kinds(changed, made, program.parameters)][:1] == [expected]
