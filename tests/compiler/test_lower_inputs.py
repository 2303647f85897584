"""The builder's answers for inputs of V3 nodes: dynamic names, lists, values without a link."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from compiler.checking.check import check
from compiler.lowering.lower import lower
from graphs.definition import Builder, NodeDef
from graphs.errors import WorkflowError
from graphs.graph import Graph
from graphs.node import Link, Node
from graphs.nodes import NODES
from graphs.operands import Literal, Operand, OperandTree, Param, Ref
from graphs.program import Step
from graphs.rows import NodeTable, compiled, definition, interpreted, op
from graphs.schemas import builtin
from graphs.values import ModelValue

JOIN = {
    "input": {"required": {"parts": ["COMFY_AUTOGROW_V3", {"template": {
        "input": {"required": {"part": ["IMAGE", {}]}}, "prefix": "part", "min": 1}}]}},
    "output": ["IMAGE"],
}  # fmt: skip
SWITCH = {
    "input": {"required": {"image": ["IMAGE"], "how": ["COMFY_DYNAMICCOMBO_V3", {"options": [
        {"key": "by", "inputs": {"required": {"factor": ["FLOAT", {"default": 2.0}]}}},
        {"key": "like", "inputs": {"required": {"other": ["IMAGE", {}]}}}]}]}},
    "output": ["IMAGE"],
}  # fmt: skip


def steps(row_op: str, schema: Any, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """The steps of a node of an interpreted class between two pictures and a preview."""
    row = interpreted("Mine", f"nowhere:{row_op}", schema=schema)
    table = NodeTable((*NODES.rows.values(), row))
    monkeypatch.setattr("graphs.nodes.packs.node_table", lambda: table)
    nodes = [Node(i, "LoadImage", {"image": f"{i}.png"}) for i in ("a", "b")]
    nodes += [Node("m", "Mine", inputs), Node("p", "PreviewImage", {"images": Link("m", 0)})]
    return [s for s in lower(Graph(nodes), table).steps if s.nodes == ("m",)]


def test_members_of_an_autogrow_are_one_input(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"parts.part10": Link("a", 0), "parts.part2": Link("b", 0), "parts.part0": Link("a", 0)}
    (step,) = steps("join_parts", JOIN, given, monkeypatch)
    assert (step.op, step.outputs) == ("join_parts", ("m.image",))
    assert step.inputs == {"parts": (Ref("a.image"), Ref("b.image"), Ref("a.image"))}


def test_a_member_that_must_be_there_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkflowError, match=r"input 'parts\.part0': required input is missing"):
        steps("join_parts", JOIN, {}, monkeypatch)


def test_members_of_a_dynamic_combo(monkeypatch: pytest.MonkeyPatch) -> None:
    (step,) = steps("fit", SWITCH, {"image": Link("a", 0), "how": "by", "how.factor": 3.0}, monkeypatch)
    assert step.inputs == {"image": Ref("a.image"), "how": Literal("by"), "factor": Param("m.how.factor")}
    (step,) = steps("fit", SWITCH, {"image": Link("a", 0), "how": "like", "how.other": Link("b", 0)}, monkeypatch)
    assert step.inputs == {"image": Ref("a.image"), "how": Literal("like"), "other": Ref("b.image")}


def test_a_dynamic_combo_has_its_first_choice_and_its_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    (step,) = steps("fit", SWITCH, {"image": Link("a", 0)}, monkeypatch)
    assert step.inputs["how"] == Literal("by")
    assert step.inputs["factor"] == Param("m.how.factor")


def collected(inputs: dict[str, Any], spec: list[Any]) -> OperandTree:
    """The operand that a lowering gets for its one input `x`."""
    seen: list[Operand] = []

    def take(node: Node, b: Builder) -> None:
        seen.append(b.operand("x"))

    schema = {"input": {"required": {"x": spec}}, "output": [], "output_node": True}
    lower(Graph([Node("n", "Mine", inputs)]), {"Mine": definition(compiled("Mine", take, schema=schema))})
    return seen[0]


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (["CURVE", {}], {"points": [[0, 0], [1, 1]]}),
        (["COLOR", {}], "#ff0000"),
        (["INT,FLOAT,STRING,BOOLEAN", {}], 3),
        (["*", {}], "words"),
    ],
)
def test_values_of_types_that_the_server_does_not_convert(spec: list[Any], value: Any) -> None:
    assert collected({"x": value}, spec) == Literal(value)


def test_a_list_of_choices_is_a_value() -> None:
    spec = ["COMBO", {"options": ["a", "b", "c"], "multiselect": True}]
    assert collected({"x": ["a", "c"]}, spec) == Param("n.x")


def test_an_input_that_is_not_declared_is_a_problem_of_the_node() -> None:
    def ask(node: Node, b: Builder) -> None:
        b.operand("nothing")

    schema = {"input": {}, "output": [], "output_node": True}
    known: dict[str, NodeDef] = {"Mine": definition(compiled("Mine", ask, schema=schema))}
    with pytest.raises(WorkflowError, match=r"node n \(Mine\), input 'nothing': the class has no such input"):
        lower(Graph([Node("n", "Mine", {})]), known)


def test_inputs_that_nothing_asks_for_are_ignored() -> None:
    nodes = [Node("i", "LoadImage", {"image": "a.png", "images.image7": 3, "upload": "image"})]
    nodes.append(Node("p", "PreviewImage", {"images": Link("i", 0), "words.of": Link("i", 1)}))
    assert [s.op for s in lower(Graph(nodes)).steps] == ["load_image", "image_to_u8", "preview_image"]


class Pipe:
    """A compile-time value that no file of ours knows."""

    socket: ClassVar[str] = "PIPE"


def test_a_value_of_a_new_type_is_given_and_taken() -> None:
    taken: list[object] = []

    def give(node: Node, b: Builder) -> None:
        b.output(0, Pipe())

    def take(node: Node, b: Builder) -> None:
        taken.append(b.take("pipe", Pipe))

    def take_model(node: Node, b: Builder) -> None:
        b.take("pipe", ModelValue)

    source = {"input": {}, "output": ["PIPE"]}
    sink = {"input": {"required": {"pipe": ["PIPE"]}}, "output": [], "output_node": True}
    nodes = Graph([Node("a", "Give", {}), Node("b", "Take", {"pipe": Link("a", 0)})])
    known = {"Give": definition(compiled("Give", give, schema=source))}
    lower(nodes, {**known, "Take": definition(compiled("Take", take, schema=sink))})
    assert isinstance(taken[0], Pipe)
    with pytest.raises(WorkflowError, match="expected MODEL, got PIPE"):
        lower(nodes, {**known, "Take": definition(compiled("Take", take_model, schema=sink))})


def test_an_op_of_ours_under_another_class() -> None:
    schema = {"input": {"required": {"samples": ["LATENT"], "mask": ["MASK"]}}, "output": ["LATENT"]}
    row = op("Masked", "set_noise_mask", samples="latent", schema=schema)
    assert definition(row).inputs[0].type == "LATENT"
    assert (row.op, row.pure) == (None, True)


def test_check_converts_members_of_a_dynamic_combo() -> None:
    resize = {"input": Link("i", 0), "resize_type": "scale by multiplier", "scale_method": "area"}
    nodes = [
        Node("i", "LoadImage", {"image": "a.png"}),
        Node("r", "ResizeImageMaskNode", {**resize, "resize_type.multiplier": "2", "resize_type.width": 64}),
        Node("p", "PreviewImage", {"images": Link("r", 0)}),
    ]
    found = check(Graph(nodes), builtin(), compiling=False)
    assert found.problems == ()
    assert found.graph["r"].inputs["resize_type.multiplier"] == 2.0
    wrong = replace(nodes[1], inputs={**resize, "resize_type": "scale by magic"})
    (problem,) = check(Graph([nodes[0], wrong, nodes[2]]), builtin(), compiling=False).problems
    assert (problem.type, problem.input_name) == ("value_not_in_list", "resize_type")
