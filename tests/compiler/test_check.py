"""check: every kind of problem, what is forgiven with a warning, strict, and the graph with its values converted."""

from __future__ import annotations

import math

import pytest

from compiler.checking.check import check
from compiler.checking.links import types_match
from graphs.definition import NodeDef
from graphs.graph import Graph
from graphs.node import COMBO, Input, Json, Link, Node, Output
from graphs.schemas import builtin
from tests.compiler.checked_workflows import FILES, SCHEMAS, no_steps, one, problems_of, workflow


def test_a_good_workflow_has_no_problems() -> None:
    assert problems_of(workflow(), SCHEMAS, FILES) == ()


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"Sample": {"model": ...}}, "required_input_missing", "link an output of type MODEL"),
        ({"Sample": {"steps": "many"}}, "invalid_input_type", "expected INT, got 'many'"),
        ({"Sample": {"steps": "2.5"}}, "invalid_input_type", "expected INT, got '2.5'"),
        ({"Sample": {"steps": math.inf}}, "invalid_input_type", "expected INT, got inf"),
        ({"Sample": {"steps": None}}, "invalid_input_type", "expected INT, got None"),
        ({"Sample": {"steps": 0}}, "value_smaller_than_min", "expected at least 1, got 0"),
        ({"Sample": {"cfg": 101}}, "value_bigger_than_max", "expected at most 100.0, got 101.0"),
        ({"Sample": {"sampler": "eular"}}, "value_not_in_list", "did you mean 'euler'?"),
        ({"Sample": {"sampler": "zzz"}}, "value_not_in_list", "one of euler, heun, dpmpp_2m, got 'zzz'"),
        ({"Sample": {"model": Link("Load", 1)}}, "return_type_mismatch", "its slot 0 is MODEL: link that"),
        ({"Save": {"image": Link("Sample", 0)}}, "return_type_mismatch", "put a VAEDecode between them"),
        ({"Decode": {"latent": Link("Decode2", 0)}}, "bad_linked_input", "not in the workflow"),
        ({"Decode": {"latent": Link("Sample", 3)}}, "bad_linked_input", "which has 1 output"),
        ({"Decode": {"latent": "words"}}, "bad_linked_input", "only a link can give this"),
        ({"Load": {"ckpt": "nope.safetensors"}}, "value_not_in_list", "got 'nope.safetensors'"),
        ({"Load": {"ckpt": "twin.ckpt"}}, "value_not_in_list", "did you mean 'x/twin.ckpt' or 'y/twin.ckpt'?"),
    ],
)
def test_errors(changes: dict[str, dict[str, Json]], kind: str, words: str) -> None:
    problem = one(workflow(**changes))
    assert (problem.type, problem.severity) == (kind, "error")
    assert words in str(problem)
    assert problem.node_id in changes
    assert problem.dependent_outputs == ("Save",)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"Sample": {"steps": ...}}, "required_input_missing"),
        ({"Sample": {"sampler": ...}}, "required_input_missing"),
        ({"Sample": {"steps": 2.7}}, "value_coerced"),
        ({"Sample": {"flag": "no"}}, "value_coerced"),
        ({"Load": {"ckpt": "model.safetensors"}}, "file_elsewhere"),
    ],
)
def test_warnings(changes: dict[str, dict[str, Json]], kind: str) -> None:
    problem = one(workflow(**changes))
    assert (problem.type, problem.severity) == (kind, "warning")


def test_strict_mirrors_the_server() -> None:
    assert one(workflow(Sample={"steps": ...}), strict=True).severity == "error"
    assert one(workflow(Load={"ckpt": "sd1.5\\Model.safetensors"}), strict=True).type == "value_not_in_list"
    assert problems_of(workflow(Load={"ckpt": "sd1.5\\Model.safetensors"}), SCHEMAS, FILES) == ()


def test_all_problems_are_found_at_once() -> None:
    graph = workflow(Load={"ckpt": "nope"}, Sample={"steps": 0, "model": ...}, Save={"image": Link("Empty", 0)})
    assert one(graph).type == "return_type_mismatch"  # nothing needs the others now
    graph = workflow(Load={"ckpt": "nope"}, Sample={"steps": 0, "model": ...})
    found = [(p.node_id, p.type) for p in problems_of(graph, SCHEMAS, FILES)]
    assert found == [
        ("Load", "value_not_in_list"),
        ("Sample", "required_input_missing"),
        ("Sample", "value_smaller_than_min"),
    ]


def test_unknown_class_matters_where_an_output_needs_it() -> None:
    lonely = Graph([*workflow(), Node("9", "Sampel", {})])
    assert (one(lonely).type, one(lonely).severity) == ("missing_node_type", "warning")
    assert one(lonely, strict=True).severity == "error"
    assert "did you mean Sample?" in str(one(lonely))
    needed = workflow(Nothing={"x": Link("Sample", 0)}, Save={"image": Link("Nothing", 0)})
    assert (one(needed).severity, one(needed).dependent_outputs) == ("error", ("Save",))


def test_nodes_that_no_output_needs_are_not_checked() -> None:
    assert problems_of(Graph([*workflow(), Node("9", "Sample", {"steps": "many"})]), SCHEMAS, FILES) == ()


def test_no_outputs() -> None:
    problem = one(Graph([Node("1", "Empty", {"width": 64})]))
    assert (problem.type, problem.node_id) == ("prompt_no_outputs", None)
    assert one(Graph([])).type == "prompt_no_outputs"


def test_known_but_not_compiled() -> None:
    graph = workflow(Later={"image": Link("Decode", 0)}, Save={"image": Link("Later", 0)})
    assert (one(graph).type, one(graph).node_id) == ("unsupported", "Later")
    assert problems_of(graph, SCHEMAS, FILES, compiling=False) == ()


def test_reroutes_pass_types_on() -> None:
    graph = workflow(Reroute={"": Link("Sample", 0)}, Decode={"latent": Link("Reroute", 0)})
    assert problems_of(graph, SCHEMAS, FILES) == ()
    dangling = workflow(Reroute={"": Link("gone", 0)}, Decode={"latent": Link("Reroute", 0)})
    assert one(dangling).type == "bad_linked_input"


def test_unknown_inputs_are_ignored_as_the_server_does() -> None:
    problem = one(workflow(Sample={"step": 3}))
    assert (problem.type, problem.severity, problem.hint) == ("unknown_input", "info", "did you mean 'steps'?")
    assert problems_of(workflow(Sample={"choose file to upload": "image"}), SCHEMAS, FILES) == ()


def test_dynamic_inputs_are_given_by_their_members() -> None:
    graph = workflow(Many={"parts.image0": Link("Decode", 0)}, Save={"image": Link("Many", 0)})
    assert problems_of(graph, SCHEMAS, FILES) == ()
    assert one(workflow(Many={}, Save={"image": Link("Many", 0)})).type == "required_input_missing"


def test_folders_that_are_not_known_are_not_checked() -> None:
    assert problems_of(workflow(Load={"ckpt": "whatever"}), SCHEMAS) == ()
    assert problems_of(workflow(Load={"ckpt": "whatever"}), SCHEMAS, {"loras": ()}) == ()
    assert "the folder is empty" in str(problems_of(workflow(Load={"ckpt": "w"}), SCHEMAS, {"checkpoints": ()})[0])


def test_types_match() -> None:
    assert types_match("LATENT", "latent")
    assert types_match("*", "MODEL")
    assert types_match("MODEL", "*")
    assert types_match("INT", "FLOAT,INT")
    assert types_match("STRING, INT", "INT")
    assert types_match("IMAGE", "COMFY_MATCHTYPE_V3")
    assert not types_match("INT", "FLOAT")
    assert not types_match("LATENT", "IMAGE,MASK")


def test_coerced_converts_fills_and_finds_files() -> None:
    graph = workflow(
        Load={"ckpt": "sd1.5\\MODEL.safetensors"},
        Sample={"steps": "7", "cfg": 3, "sampler": ..., "text": 5, "flag": 1},
        Empty={"width": ...},
    )
    new = check(graph, SCHEMAS, FILES).graph
    sample = new["Sample"].inputs
    assert new["Load"].inputs["ckpt"] == "SD1.5/model.safetensors"
    assert (sample["steps"], sample["cfg"], sample["sampler"], sample["text"]) == (7, 3.0, "euler", "5")
    assert isinstance(sample["cfg"], float)
    assert sample["flag"] is True
    assert new["Empty"].inputs["width"] == 512
    assert check(new, SCHEMAS, FILES).graph is new
    assert problems_of(new, SCHEMAS, FILES) == ()


def test_coerced_leaves_what_check_reports() -> None:
    graph = workflow(Sample={"steps": "many", "sampler": "nope", "model": ...}, Load={"ckpt": "twin.ckpt"})
    assert check(graph, SCHEMAS, FILES).graph is graph


def test_input_files_in_other_folders_and_of_other_spelling() -> None:
    image = Input("image", COMBO, folder="input", upload="image")
    picture = NodeDef("Picture", (image,), (Output("I", "IMAGE"),), no_steps)
    files = {"input": ("a.png", "clipspace/clipspace-mask-7.png", "sub/b.png")}
    schemas = {**SCHEMAS, "Picture": picture}

    def found(name: str, **options: bool) -> tuple[object, tuple[str, ...]]:
        graph = Graph([Node("1", "Picture", {"image": name}), Node("2", "Save", {"image": Link("1", 0)})])
        result = check(graph, schemas, files, **options)
        return result.graph["1"].inputs["image"], tuple(p.type for p in result.problems)

    assert found("a.png [input]") == ("a.png [input]", ())
    assert found("b.png [output]") == ("b.png [output]", ())  # that folder is known when it runs
    assert found("clipspace/clipspace-mask-7.png [input]") == ("clipspace/clipspace-mask-7.png [input]", ())
    assert found("sub\\B.PNG") == ("sub/b.png", ())
    assert found("b.png") == ("sub/b.png", ("file_elsewhere",))
    assert found("c.png [input]") == ("c.png [input]", ("custom_validation_failed",))
    assert found("A.png", strict=True) == ("A.png", ("custom_validation_failed",))


def test_widgets_linked_to_values_of_their_type() -> None:
    schemas = builtin()
    nodes = [
        Node("1", "PrimitiveInt", {"value": 3}),
        Node("2", "EmptyLatentImage", {"width": Link("1", 0), "height": 64, "batch_size": 1}),
        Node("3", "SaveLatent", {"samples": Link("2", 0), "filename_prefix": "x"}),
    ]
    assert problems_of(Graph(nodes), schemas, compiling=False) == ()
    wrong = [Node("1", "PrimitiveFloat", {"value": 3.0}), *nodes[1:]]
    (problem,) = problems_of(Graph(wrong), schemas, compiling=False)
    assert (problem.type, problem.input_name) == ("return_type_mismatch", "width")
