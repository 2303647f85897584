"""Steps run in order, with the values that they need and no others; on toy ops and random programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.operands import Const, Literal, Operand, Param, Ref
from graphs.ops import OpSpec
from graphs.program import Program, Step
from runtime.context import OpContext
from runtime.executor import Outcome, execute, select
from runtime.ops import Op
from runtime.sampling.batching import alone

SPECS = {
    "sum": OpSpec("sum", ("values",), ("total",), foldable=True),
    "split": OpSpec("split", ("value",), ("half", "rest"), foldable=True),
    "write": OpSpec("write", ("value",), ("files",), pure=False),
}


class Toy:
    """Ops on integers that record what ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def op(self, name: str) -> Op:
        functions: dict[str, Callable[..., Any]] = {
            "sum": lambda context, values: sum(values),
            "split": lambda context, value: (value // 2, value - value // 2),
            "write": lambda context, value: ("file", value),
        }
        return functions[name]

    def context(self, step: Step) -> OpContext:
        self.ran.append(step.id)
        here = Path()
        return OpContext(step.attrs, _no_module, torch.device("cpu"), "", step.id, lambda d, t: None, here, here, here)

    def run(self, program: Program, params: Mapping[str, Any], constants: Mapping[str, Any], **how: Any) -> Outcome:
        keep = how.get("keep", ())
        instructions = select(program, specs=SPECS, **how)
        return alone(
            execute(instructions, op=self.op, context=self.context, params=params, constants=constants, keep=keep)
        )


def _no_module(role: str) -> Any:
    raise AssertionError("toy ops have no networks")


def add(name: str, *operands: Operand, **more: Any) -> Step:
    return Step(f"s.{name}", "sum", {"values": operands}, outputs=(name,), **more)


PROGRAM = Program(
    (
        add("a", Param("p"), Literal(1), folded={"a": "A"}, folded_when=("p",)),
        add("b", Ref("a"), Const("C"), Param("q"), folded={"b": "B"}, folded_when=("p", "q")),
        Step("s.split", "split", {"value": Ref("b")}, outputs=("half", "rest")),
        add("unused", Ref("rest")),
        Step("s.write", "write", {"value": Ref("half")}, outputs=("files",)),
    )
)
PARAMS = {"p": 10, "q": 100}
CONSTANTS = {"A": 11, "B": 1111, "C": 1000}


def test_folded_values_stand_for_steps_and_all_that_only_they_needed() -> None:
    toy = Toy()
    outcome = toy.run(PROGRAM, PARAMS, CONSTANTS, keep=("files",))
    assert toy.ran == ["s.split", "s.write"]
    assert outcome.values == {"files": ("file", 555)}
    assert list(outcome.step_ms) == toy.ran
    assert all(ms >= 0 for ms in outcome.step_ms.values())


@pytest.mark.parametrize(
    ("changed", "ran"),
    [
        (("q",), ["s.b", "s.split", "s.write"]),
        (("p",), ["s.a", "s.b", "s.split", "s.write"]),
    ],
)
def test_a_changed_parameter_computes_what_hangs_on_it(changed: tuple[str, ...], ran: list[str]) -> None:
    toy = Toy()
    params = PARAMS | dict.fromkeys(changed, 0)
    outcome = toy.run(PROGRAM, params, CONSTANTS, changed=changed, keep=("files",))
    assert toy.ran == ran
    assert outcome.values == {"files": ("file", (params["p"] + 1 + 1000 + params["q"]) // 2)}


def test_without_effects_only_what_is_kept_is_computed() -> None:
    toy = Toy()
    outcome = toy.run(PROGRAM, PARAMS, CONSTANTS, keep=("b",), effects=False, changed=("p",))
    assert toy.ran == ["s.a", "s.b"]
    assert outcome.values == {"b": 1111}


def test_values_die_after_their_last_use() -> None:
    frees = {i.step.id: i.frees for i in select(PROGRAM, specs=SPECS, changed=("p", "q"))}
    assert frees == {"s.a": (), "s.b": ("a",), "s.split": ("b", "rest"), "s.write": ("half", "files")}


def test_an_error_keeps_its_type_and_names_the_step() -> None:
    broken = PROGRAM.with_steps((*PROGRAM.steps[:-1], replace(PROGRAM.steps[-1], inputs={"valve": Literal(1)})))
    with pytest.raises(TypeError) as caught:
        Toy().run(broken, PARAMS, CONSTANTS)
    assert caught.value.__notes__ == ["while running step s.write (write)"]


def test_an_op_with_the_wrong_number_of_outputs_is_found() -> None:
    broken = PROGRAM.with_steps((Step("s", "split", {"value": Literal(1)}, outputs=("half", "rest", "more")),))
    with pytest.raises(ValueError, match="shorter"):
        Toy().run(broken, {}, {}, keep=("half",))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Random sums over earlier values, parameters and literals, some folded, with writes at the end."""
    steps: list[Step] = []
    for i in range(draw(st.integers(1, 12))):
        known: list[Operand] = [Param("p"), Param("q"), Literal(i), *(Ref(f"v{j}") for j in range(i))]
        operand = st.sampled_from(known)
        steps.append(add(f"v{i}", *draw(st.lists(operand, min_size=1, max_size=3))))
    roots = draw(st.lists(st.integers(0, len(steps) - 1), min_size=1, max_size=3))
    for number, root in enumerate(roots):
        steps.append(Step(f"w{number}", "write", {"value": Ref(f"v{root}")}, outputs=(f"f{number}",)))
    return Program(tuple(steps))


def _reference(program: Program, params: Mapping[str, int]) -> dict[str, Any]:
    """Runs every step and keeps everything."""
    values: dict[str, Any] = {}
    for step in program.steps:
        if step.op == "sum":
            got = [values[o.name] if isinstance(o, Ref) else params[o.name] if isinstance(o, Param) else o.value
                   for o in step.operands() if not isinstance(o, Const)]  # fmt: skip
            values[step.outputs[0]] = sum(got)
        else:
            values[step.outputs[0]] = ("file", values[step.refs()[0]])
    return values


def _depends(program: Program) -> dict[str, set[str]]:
    """The parameters that each value hangs on."""
    found: dict[str, set[str]] = {}
    for step in program.steps:
        found[step.outputs[0]] = set(step.params()).union(*(found[r] for r in step.refs()))
    return found


@settings(max_examples=150, deadline=None)
@given(programs(), st.lists(st.booleans(), min_size=12, max_size=12), st.sets(st.sampled_from("pq")))
def test_folding_and_freeing_change_no_result(program: Program, fold: list[bool], changed: set[str]) -> None:
    defaults = {"p": 3, "q": 50}
    at_default, depends = _reference(program, defaults), _depends(program)
    constants = {name: at_default[name] for name in at_default}
    folded = program.with_steps(
        tuple(
            replace(s, folded={s.outputs[0]: s.outputs[0]}, folded_when=tuple(sorted(depends[s.outputs[0]])))
            if s.op == "sum" and fold[i]
            else s
            for i, s in enumerate(program.steps)
        )
    )
    params = {name: value + 7 if name in changed else value for name, value in defaults.items()}
    files = tuple(s.outputs[0] for s in program.steps if s.op == "write")
    toy = Toy()
    outcome = toy.run(folded, params, constants, changed=changed, keep=files)
    expected = _reference(program, params)
    assert outcome.values == {name: expected[name] for name in files}
    ran = {s.outputs[0] for s in folded.steps if s.id in toy.ran}
    assert all(not fold[i] or depends[s.outputs[0]] & changed for i, s in enumerate(program.steps)
               if s.outputs[0] in ran and s.op == "sum")  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(programs())
def test_every_value_is_freed_exactly_once_and_after_its_last_use(program: Program) -> None:
    instructions = select(program, specs=SPECS)
    last_use = {r: n for n, i in enumerate(instructions) for r in (*i.step.outputs, *i.step.refs())}
    freed = {name: n for n, i in enumerate(instructions) for name in i.frees}
    assert freed == last_use
    assert sum(len(i.frees) for i in instructions) == len(freed)
