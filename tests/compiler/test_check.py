"""check and coerced: every kind of problem, what is forgiven with a warning, and strict."""

from __future__ import annotations

import math

import pytest

from compiler.checking.check import check, coerced, types_match
from compiler.checking.coercion import choose
from graphs.definition import Builder, NodeDef
from graphs.errors import Problem
from graphs.graph import Graph
from graphs.node import COMBO, Input, Json, Link, Node, Output
from graphs.schemas import builtin


def no_steps(node: Node, b: Builder) -> None:
    """Stands for a lowering: check only asks whether there is one."""


SAMPLERS = ("euler", "heun", "dpmpp_2m")
SCHEMAS = {
    s.class_type: s
    for s in (
        NodeDef(
            "Load", (Input("ckpt", COMBO, folder="checkpoints"),), (Output("M", "MODEL"), Output("V", "VAE")), no_steps
        ),
        NodeDef("Empty", (Input("width", "INT", default=512, min=16, max=1024),), (Output("L", "LATENT"),), no_steps),
        NodeDef(
            "Sample",
            (
                Input("model", "MODEL"),
                Input("latent", "LATENT"),
                Input("steps", "INT", default=20, min=1, max=100),
                Input("cfg", "FLOAT", default=8.0, min=0.0, max=100.0),
                Input("sampler", COMBO, options=SAMPLERS),
                Input("text", "STRING", required=False),
                Input("flag", "BOOLEAN", required=False),
                Input("any", "*", required=False),
                Input("secret", "PROMPT", hidden=True),
            ),
            (Output("L", "LATENT"),),
            no_steps,
        ),
        NodeDef("Decode", (Input("latent", "LATENT"), Input("vae", "VAE")), (Output("I", "IMAGE"),), no_steps),
        NodeDef("Later", (Input("image", "IMAGE"),), (Output("I", "IMAGE"),)),
        NodeDef("Save", (Input("image", "IMAGE"),), (), no_steps, output_node=True),
        NodeDef("Many", (Input("parts", "COMFY_AUTOGROW_V3"),), (Output("I", "IMAGE"),), no_steps),
    )
}
FILES = {"checkpoints": ("a.safetensors", "SD1.5/model.safetensors", "x/twin.ckpt", "y/twin.ckpt")}


def workflow(**changes: dict[str, Json]) -> Graph:
    """A workflow without problems, with inputs changed by class; the value ... leaves an input out."""
    classes: dict[str, dict[str, Json]] = {
        "Load": {"ckpt": "a.safetensors"},
        "Empty": {"width": 64},
        "Sample": {"model": Link("Load", 0), "latent": Link("Empty", 0), "steps": 4, "cfg": 7.0, "sampler": "euler"},
        "Decode": {"latent": Link("Sample", 0), "vae": Link("Load", 1)},
        "Save": {"image": Link("Decode", 0)},
    }
    for name, inputs in changes.items():
        classes[name] = {k: v for k, v in {**classes.get(name, {}), **inputs}.items() if v is not ...}
    return Graph(Node(name, name, inputs) for name, inputs in classes.items())


def one(graph: Graph, **options: bool) -> Problem:
    (problem,) = check(graph, SCHEMAS, FILES, **options)
    return problem


def test_a_good_workflow_has_no_problems() -> None:
    assert check(workflow(), SCHEMAS, FILES) == ()


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
    assert check(workflow(Load={"ckpt": "sd1.5\\Model.safetensors"}), SCHEMAS, FILES) == ()


def test_all_problems_are_found_at_once() -> None:
    graph = workflow(Load={"ckpt": "nope"}, Sample={"steps": 0, "model": ...}, Save={"image": Link("Empty", 0)})
    assert [p.type for p in check(graph, SCHEMAS, FILES)] == ["return_type_mismatch"]  # nothing needs the others now
    graph = workflow(Load={"ckpt": "nope"}, Sample={"steps": 0, "model": ...})
    found = [(p.node_id, p.type) for p in check(graph, SCHEMAS, FILES)]
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
    assert check(Graph([*workflow(), Node("9", "Sample", {"steps": "many"})]), SCHEMAS, FILES) == ()


def test_no_outputs() -> None:
    problem = one(Graph([Node("1", "Empty", {"width": 64})]))
    assert (problem.type, problem.node_id) == ("prompt_no_outputs", None)
    assert one(Graph([])).type == "prompt_no_outputs"


def test_known_but_not_compiled() -> None:
    graph = workflow(Later={"image": Link("Decode", 0)}, Save={"image": Link("Later", 0)})
    assert (one(graph).type, one(graph).node_id) == ("unsupported", "Later")
    assert check(graph, SCHEMAS, FILES, compiling=False) == ()


def test_reroutes_pass_types_on() -> None:
    graph = workflow(Reroute={"": Link("Sample", 0)}, Decode={"latent": Link("Reroute", 0)})
    assert check(graph, SCHEMAS, FILES) == ()
    dangling = workflow(Reroute={"": Link("gone", 0)}, Decode={"latent": Link("Reroute", 0)})
    assert one(dangling).type == "bad_linked_input"


def test_unknown_inputs_are_ignored_as_the_server_does() -> None:
    problem = one(workflow(Sample={"step": 3}))
    assert (problem.type, problem.severity, problem.hint) == ("unknown_input", "info", "did you mean 'steps'?")
    assert check(workflow(Sample={"choose file to upload": "image"}), SCHEMAS, FILES) == ()


def test_dynamic_inputs_are_given_by_their_members() -> None:
    graph = workflow(Many={"parts.image0": Link("Decode", 0)}, Save={"image": Link("Many", 0)})
    assert check(graph, SCHEMAS, FILES) == ()
    assert one(workflow(Many={}, Save={"image": Link("Many", 0)})).type == "required_input_missing"


def test_folders_that_are_not_known_are_not_checked() -> None:
    assert check(workflow(Load={"ckpt": "whatever"}), SCHEMAS) == ()
    assert check(workflow(Load={"ckpt": "whatever"}), SCHEMAS, {"loras": ()}) == ()
    assert "the folder is empty" in str(check(workflow(Load={"ckpt": "w"}), SCHEMAS, {"checkpoints": ()})[0])


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
    new = coerced(graph, SCHEMAS, FILES)
    sample = new["Sample"].inputs
    assert new["Load"].inputs["ckpt"] == "SD1.5/model.safetensors"
    assert (sample["steps"], sample["cfg"], sample["sampler"], sample["text"]) == (7, 3.0, "euler", "5")
    assert isinstance(sample["cfg"], float)
    assert sample["flag"] is True
    assert new["Empty"].inputs["width"] == 512
    assert coerced(new, SCHEMAS, FILES) is new
    assert check(new, SCHEMAS, FILES) == ()


def test_coerced_leaves_what_check_reports() -> None:
    graph = workflow(Sample={"steps": "many", "sampler": "nope", "model": ...}, Load={"ckpt": "twin.ckpt"})
    assert coerced(graph, SCHEMAS, FILES) is graph


def test_annotated_input_files() -> None:
    picture = Input("image", COMBO, folder="input", upload="image")
    assert choose(picture, "a.png [input]", ("a.png",)).value == "a.png [input]"
    assert choose(picture, "b.png [output]", ("a.png",)).found
    assert not choose(picture, "b.png [input]", ("a.png",)).found


def test_widgets_linked_to_values_of_their_type() -> None:
    schemas = builtin()
    nodes = [
        Node("1", "PrimitiveInt", {"value": 3}),
        Node("2", "EmptyLatentImage", {"width": Link("1", 0), "height": 64, "batch_size": 1}),
        Node("3", "SaveLatent", {"samples": Link("2", 0), "filename_prefix": "x"}),
    ]
    assert check(Graph(nodes), schemas, compiling=False) == ()
    wrong = [Node("1", "PrimitiveFloat", {"value": 3.0}), *nodes[1:]]
    (problem,) = check(Graph(wrong), schemas, compiling=False)
    assert (problem.type, problem.input_name) == ("return_type_mismatch", "width")


def test_ten_thousand_broken_nodes_are_quick_and_all_listed() -> None:
    import time

    nodes = [Node(str(i), "Sample", {"steps": "many", "latent": Link(str(i - 1), 0)}) for i in range(1, 10_000)]
    saves = [Node(f"s{i}", "Save", {"image": Link(str(i), 0)}) for i in range(1, 10_000, 100)]
    graph = Graph([Node("0", "Empty", {"width": 64}), *nodes, *saves])
    started = time.process_time()
    problems = check(graph, SCHEMAS, FILES)
    assert time.process_time() - started < 4
    assert sum(p.type == "invalid_input_type" for p in problems) == 9_901
    first = next(p for p in problems if p.type == "invalid_input_type")
    assert len(first.dependent_outputs) == 100
