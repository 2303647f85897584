"""widgets_values -> named values, in every form that front ends wrote."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.definition import NodeDef
from graphs.errors import WorkflowError
from graphs.node import Input
from graphs.reading.widgets import walk
from graphs.schemas import Schemas, builtin
from graphs.workflow import parse_ui
from tests.graphs.ui_files import SAMPLER_VALUES, convert, inputs_of, node, ui

NAMED = {"seed": 7, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}


def one(type: str, values: Any, inputs: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    return convert([node(1, type, inputs, [], values, **more)], [])["1"]


@pytest.mark.parametrize("control", ["fixed", "increment", "decrement", "randomize", True, False])
def test_the_control_after_a_seed_is_no_value(control: Any) -> None:
    assert one("KSampler", [7, control, 20, 8.0, "euler", "normal", 1.0]) == NAMED


def test_a_seed_without_control_value() -> None:
    assert one("KSampler", [7, 20, 8.0, "euler", "normal", 1.0]) == NAMED


def test_noise_seed_and_plain_ints_with_control() -> None:
    assert one("RandomNoise", [5, "randomize"]) == {"noise_seed": 5}
    assert one("PrimitiveInt", [5, "increment"]) == {"value": 5}


def test_a_control_word_that_is_a_value() -> None:
    # "fixed" is a choice of this node, and no seed stands before it.
    assert one("LatentBatchSeedBehavior", ["fixed"]) == {"seed_behavior": "fixed"}


def test_a_boolean_after_a_seed_may_be_the_next_widget() -> None:
    inputs = (Input("seed", "INT"), Input("flag", "BOOLEAN"), Input("n", "INT"))
    schemas = Schemas({}, {"A": NodeDef("A", inputs)})
    for values in ([1, True, 4], [1, "fixed", True, 4], [1, False, True, 4]):
        graph = parse_ui(ui([node(1, "A", [], [], values)], []), schemas)
        assert inputs_of(graph)["1"] == {"seed": 1, "flag": True, "n": 4}


def test_an_object_names_its_values() -> None:
    assert one("KSampler", {**NAMED, "control_after_generate": "fixed", "videopreview": {}}) == NAMED


def test_named_values_win() -> None:
    wrong = [0, "fixed", 1, 1.0, "euler", "normal", 0.5]
    assert one("KSampler", wrong, widgets_values_named={**NAMED, "control_after_generate": "fixed"}) == NAMED


def test_upload_buttons_are_dropped() -> None:
    assert one("LoadImage", ["a.png", "image"]) == {"image": "a.png"}
    assert one("LoadImage", ["a.png"]) == {"image": "a.png"}
    assert one("LoadImageMask", ["a.png", "alpha", "image"]) == {"image": "a.png", "channel": "alpha"}
    three = ["x.glb", "upload3dmodel", "uploadExtraResources", "clear", "", 512, 256]
    assert one("Load3D", three) == {"model_file": "x.glb", "image": "", "width": 512, "height": 256}


def test_a_converted_widget_still_has_its_place_and_its_link_wins() -> None:
    nodes = [
        node(1, "PrimitiveInt", [], ["INT"], [30, "fixed"]),
        node(2, "KSampler", [("steps:INT", 5, "steps")], [], SAMPLER_VALUES),
    ]
    api = convert(nodes, [[5, 1, 0, 2, 0, "INT"]])
    assert api["2"] == {**NAMED, "steps": ["1", 0]}


def test_a_converted_widget_without_link_keeps_its_value() -> None:
    assert one("KSampler", SAMPLER_VALUES, [("steps:INT", None, "steps")]) == NAMED


def test_values_of_an_older_schema_leave_the_last_widgets_open() -> None:
    graph = parse_ui(ui([node(1, "CLIPLoader", [], [], ["t5.safetensors", "sd3"])], []))
    assert inputs_of(graph)["1"] == {"clip_name": "t5.safetensors", "type": "sd3"}
    assert [(w.type, w.node_id) for w in graph.warnings] == [("widgets_missing", "1")]
    assert "device" in graph.warnings[0].message


def test_values_beyond_the_schema_are_dropped_and_said() -> None:
    graph = parse_ui(ui([node(1, "CLIPTextEncode", [], [], ["a cat", True])], []))
    assert inputs_of(graph)["1"] == {"text": "a cat"}
    assert [(w.type, w.got) for w in graph.warnings] == [("widgets_left", "True")]


def test_dummies_of_inputs_without_widget() -> None:
    inputs = (Input("a", "INT", force_input=True), Input("name", "STRING"), Input("n", "FLOAT"))
    schemas = Schemas({}, {"A": NodeDef("A", inputs)})
    for values in (["x", 0.5], [0, "x", 0.5]):
        graph = parse_ui(ui([node(1, "A", ["a:INT"], [], values)], []), schemas)
        assert inputs_of(graph)["1"] == {"name": "x", "n": 0.5}
        assert graph.warnings == ()


def test_a_widget_added_in_the_middle_is_found_by_its_type() -> None:
    inputs = (Input("a", "STRING"), Input("new", "BOOLEAN"), Input("n", "INT"))
    schemas = Schemas({}, {"A": NodeDef("A", inputs)})
    graph = parse_ui(ui([node(1, "A", [], [], ["x", 4.5])], []), Schemas({}, {"A": NodeDef("A", inputs[:1])}))
    assert [w.type for w in graph.warnings] == ["widgets_left"]
    graph = parse_ui(ui([node(1, "A", [], [], ["x", [1]])], []), Schemas({}, {"A": NodeDef("A", inputs[:1])}))
    assert inputs_of(graph)["1"] == {"a": "x"}
    strings = (Input("n", "INT"), Input("new", "COMBO", options=("p", "q")), Input("text", "BOOLEAN"))
    schemas = Schemas({}, {"A": NodeDef("A", strings)})
    graph = parse_ui(ui([node(1, "A", [], [], [4, True])], []), schemas)
    assert inputs_of(graph)["1"] == {"n": 4, "text": True}
    assert [w.type for w in graph.warnings] == ["widgets_missing"]


def test_the_names_in_the_file_decide_when_the_schema_does_not_fit() -> None:
    schemas = Schemas({}, {"A": NodeDef("A", (Input("n", "INT"), Input("m", "INT")))})
    slots = [("s:STRING", None, "s"), ("f:FLOAT", None, "f")]
    graph = parse_ui(ui([node(1, "A", slots, [], ["x", 0.5])], []), schemas)
    assert inputs_of(graph)["1"] == {"s": "x", "f": 0.5}
    assert [w.type for w in graph.warnings] == ["other_widgets"]


def test_values_that_do_not_fit_are_a_problem_not_a_guess() -> None:
    with pytest.raises(WorkflowError) as error:
        convert([node(9, "EmptyLatentImage", [], [], ["big", 512, 1])], [])
    (problem,) = error.value.problems
    assert (problem.type, problem.node_id, problem.input_name) == ("ambiguous_widgets", "9", "width")
    assert "width, height, batch_size" in (problem.expected or "")


def test_unknown_classes_all_at_once() -> None:
    nodes = [node(1, "X", [], ["IMAGE"], [1]), node(2, "Y", [("a:IMAGE", 1)], [], ["b"])]
    with pytest.raises(WorkflowError) as error:
        convert(nodes, [[1, 1, 0, 2, 0, "IMAGE"]])
    assert [(p.node_id, p.class_type, p.type) for p in error.value.problems] == [
        ("1", "X", "missing_node_type"),
        ("2", "Y", "missing_node_type"),
    ]
    assert "--object-info" in (error.value.problems[0].hint or "")


def test_unknown_classes_that_need_no_schema() -> None:
    nodes = [
        node(1, "X", [], ["IMAGE"], {"n": 3, "videopreview": {}}),
        node(
            2, "Y", [("a:IMAGE", 1), ("seed:INT", None, "seed"), ("t:STRING", None, "t")], ["IMAGE"], [5, "fixed", "b"]
        ),
        node(3, "Z", [("a:IMAGE", 2)], []),
    ]
    api = convert(nodes, [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]])
    assert api == {"1": {"n": 3}, "2": {"seed": 5, "t": "b", "a": ["1", 0]}, "3": {"a": ["2", 0]}}


def test_an_unknown_class_with_a_users_schema() -> None:
    dump = {"X": {"input": {"required": {"n": ["INT", {}], "t": [["p", "q"], {}]}}, "output": ["IMAGE"]}}
    graph = parse_ui(ui([node(1, "X", [], ["IMAGE"], [4, "q"])], []), builtin().with_object_info(dump))
    assert inputs_of(graph)["1"] == {"n": 4, "t": "q"}


def test_an_unknown_panel_without_links_is_left_out_and_said() -> None:
    graph = parse_ui(
        ui([node(1, "Fancy Label (x)", [], [], ["hello"]), node(2, "EmptyLatentImage", [], [], [8, 8, 1])], [])
    )
    assert list(graph.nodes) == ["2"]
    assert graph.dissolved == (("1", "Fancy Label (x)", "unknown class without any link"),)
    assert [w.type for w in graph.warnings] == ["missing_node_type"]


def test_dynamic_combos_bring_their_own_widgets() -> None:
    values = ["scale dimensions", 640, 480, "center", "lanczos"]
    assert one("ResizeImageMaskNode", values) == {
        "resize_type": "scale dimensions",
        "resize_type.width": 640,
        "resize_type.height": 480,
        "resize_type.crop": "center",
        "scale_method": "lanczos",
    }


def test_lists_as_values_are_wrapped() -> None:
    named = {"sigmas": [1.0, 0.5]}
    assert one("X", named) == {"sigmas": {"__value__": [1.0, 0.5]}}


def test_null_numbers_are_values_of_floats_only() -> None:
    assert walk([Input("f", "FLOAT")], [None]).whole
    assert walk([Input("n", "INT")], [None]).bad == ["n"]
