"""check: the outputs that can run are kept, the others reported; and what it costs to report very much."""

from __future__ import annotations

import pytest

from compiler.checking.check import check
from compiler.checking.structure import MAX_DEPENDENTS
from graphs.definition import NodeDef
from graphs.graph import Graph
from graphs.node import COMBO, Input, Json, Link, Node, Output
from graphs.node_classes import SCHEMAS_VERSION
from tests.compiler.checked_workflows import FILES, SCHEMAS, one, problems_of, workflow


def two_outputs(**more: dict[str, Json]) -> Graph:
    """A workflow that is whole, and a second output of class Save by the id given."""
    return Graph([*workflow(), *(Node(node_id, "Save", inputs) for node_id, inputs in more.items())])


def test_outputs_that_cannot_run_are_left_out() -> None:
    graph = two_outputs(Unlinked={}, Wrong={"image": Link("Sample", 0)})
    found = check(graph, SCHEMAS, FILES)
    assert [(p.node_id, p.type, p.severity) for p in found.problems] == [
        ("Unlinked", "required_input_missing", "warning"),
        ("Wrong", "return_type_mismatch", "warning"),
        ("Unlinked", "output_left_out", "warning"),
        ("Wrong", "output_left_out", "warning"),
    ]
    assert (found.outputs, found.left_out, found.errors) == (("Save",), ("Unlinked", "Wrong"), ())
    assert found.graph is graph
    assert found.runnable == workflow()


def test_strict_is_all_or_nothing() -> None:
    found = check(two_outputs(Unlinked={}), SCHEMAS, FILES, strict=True)
    assert [(p.node_id, p.type) for p in found.errors] == [("Unlinked", "required_input_missing")]
    assert (found.outputs, found.left_out) == (("Save",), ("Unlinked",))


def test_no_output_that_can_run_is_an_error() -> None:
    found = check(workflow(Load={"ckpt": "gone"}), SCHEMAS, FILES)
    assert [p.type for p in found.errors] == ["value_not_in_list"]
    assert (found.outputs, found.left_out) == ((), ())


def test_a_missing_model_leaves_out_the_outputs_that_need_it() -> None:
    other = Node("Other", "Many", {"parts.image0": Link("Empty", 0)})
    more = (other, Node("Save2", "Save", {"image": Link("Other", 0)}))
    found = check(Graph([*workflow(Load={"ckpt": "gone"}), *more]), SCHEMAS, FILES)
    assert (found.outputs, found.left_out, found.errors) == (("Save2",), ("Save",), ())


@pytest.mark.parametrize("kind", ["Nothing", "Later"])
def test_a_class_that_is_not_known_or_not_compiled_stops_every_output(kind: str) -> None:
    more = (Node("9", kind, {"image": Link("Decode", 0)}), Node("10", "Save", {"image": Link("9", 0)}))
    graph = Graph([*workflow(), *more])
    found = check(graph, SCHEMAS, FILES)
    assert [p.node_id for p in found.errors] == ["9"]
    assert found.outputs == ()


def test_a_choice_of_a_newer_comfyui_is_a_warning_where_nothing_here_depends_on_it() -> None:
    classes = {"New": NodeDef("New", (Input("mode", COMBO, options=("a", "b")),), (Output("I", "IMAGE"),)), **SCHEMAS}
    graph = Graph([Node("1", "New", {"mode": "c"}), Node("2", "Save", {"image": Link("1", 0)})])
    (problem,) = problems_of(graph, classes, FILES, compiling=False)
    assert (problem.type, problem.severity) == ("value_not_in_list", "warning")
    assert f"newer than {SCHEMAS_VERSION}" in str(problem)
    assert problems_of(graph, classes, FILES, compiling=False, strict=True)[0].severity == "error"
    assert one(workflow(Sample={"sampler": "newer"})).severity == "error"  # decides what is computed


def test_ten_thousand_broken_nodes_are_quick_and_all_listed() -> None:
    import time

    nodes = [Node(str(i), "Sample", {"steps": "many", "latent": Link(str(i - 1), 0)}) for i in range(1, 10_000)]
    saves = [Node(f"s{i}", "Save", {"image": Link(str(i), 0)}) for i in range(1, 10_000, 100)]
    graph = Graph([Node("0", "Empty", {"width": 64}), *nodes, *saves])
    started = time.process_time()
    problems = problems_of(graph, SCHEMAS, FILES)
    assert time.process_time() - started < 4
    assert sum(p.type == "invalid_input_type" for p in problems) == 9_901
    first = next(p for p in problems if p.type == "invalid_input_type")
    assert len(first.dependent_outputs) == 100


def test_twenty_thousand_outputs_without_input() -> None:
    import time

    graph = Graph(Node(str(i), "Save", {}) for i in range(20_000))
    started = time.process_time()
    assert len(problems_of(graph, SCHEMAS, FILES)) == 20_000
    assert time.process_time() - started < 3


def test_outputs_named_with_a_problem_are_bounded() -> None:
    saves = (Node(f"s{i}", "Save", {"image": Link("Decode", 0)}) for i in range(999))
    graph = Graph([*workflow(Sample={"steps": "many"}), *saves])
    assert len(one(graph).dependent_outputs) == MAX_DEPENDENTS


def test_suggestions_are_bounded() -> None:
    """20,000 unknown classes, unknown inputs and file names that look like known ones."""
    import time

    nodes = [Node(f"{i}", f"Sampl{i}", {}) for i in range(20_000)]
    nodes += [Node("x", "Sample", {f"step{i}": 1 for i in range(20_000)}), Node("y", "Save", {"image": Link("x", 0)})]
    nodes += [Node(f"l{i}", "Load", {"ckpt": f"model{i}" * 50}) for i in range(2_000)]
    nodes += [Node(f"d{i}", "Decode", {"latent": Link("x", 0), "vae": Link(f"l{i}", 1)}) for i in range(2_000)]
    nodes += [Node(f"s{i}", "Save", {"image": Link(f"d{i}", 0)}) for i in range(2_000)]
    files = {"checkpoints": tuple(f"model{i}.safetensors" for i in range(1_000))}
    started = time.process_time()
    assert len(problems_of(Graph(nodes), SCHEMAS, files)) > 22_000
    assert time.process_time() - started < 10


@pytest.mark.parametrize("value", ["x" * 10**6, [[[["deep"]]]] * 50, {"a": {"b": list(range(10**5))}}, -(10**400)])
def test_absurd_values_make_short_messages(value: Json) -> None:
    for name in ("steps", "sampler", "model", "flag", "text"):
        for problem in problems_of(workflow(Sample={name: value}), SCHEMAS, FILES):
            assert len(str(problem)) < 2_000
