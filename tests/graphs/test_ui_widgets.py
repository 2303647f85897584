"""widgets_values -> named values, in every form that front ends wrote."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.definition import NodeDef
from graphs.errors import WorkflowError
from graphs.node import Input
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


def test_the_list_wins_over_names_where_it_fits() -> None:
    # The front end writes both and reads the list.
    listed = [0, "fixed", 1, 1.0, "euler", "normal", 0.5]
    api = one("KSampler", listed, widgets_values_named={**NAMED, "control_after_generate": "fixed"})
    assert (api["seed"], api["steps"], api["denoise"]) == (0, 1, 0.5)


def test_names_win_where_the_list_does_not_fit() -> None:
    for wrong in ([], ["euler", 20], [7, "fixed", 20, 8.0, "euler", "normal", 1.0, "another", 3]):
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


def test_values_of_an_older_schema_get_the_defaults_of_what_came_later() -> None:
    graph = parse_ui(ui([node(1, "CLIPLoader", [], [], ["t5.safetensors", "sd3"])], []))
    assert inputs_of(graph)["1"] == {"clip_name": "t5.safetensors", "type": "sd3", "device": "default"}
    assert [(w.type, w.node_id, w.severity) for w in graph.warnings] == [("default_filled", "1", "info")]
    assert "device" in graph.warnings[0].message


@pytest.mark.parametrize("values", [None, [], {}])
def test_a_node_without_values_gets_the_defaults(values: Any) -> None:
    api = one("EmptyLatentImage", values)
    assert api == {"width": 512, "height": 512, "batch_size": 1}


def test_a_file_that_is_not_named_has_no_default() -> None:
    graph = parse_ui(ui([node(1, "CheckpointLoaderSimple", [], [], [])], []))
    assert inputs_of(graph)["1"] == {}
    assert [(w.type, w.severity) for w in graph.warnings] == [("widgets_missing", "warning")]


def test_a_control_word_is_never_the_next_value() -> None:
    later = Input("system", "STRING", default="be kind")
    inputs = (Input("seed", "INT"), Input("ratio", "COMBO", options=("auto", "3:4")), Input("size", "STRING"), later)
    schemas = Schemas({}, {"A": NodeDef("A", inputs)})
    graph = parse_ui(ui([node(1, "A", [], [], [42, "fixed", "3:4", "2K"])], []), schemas)
    assert inputs_of(graph)["1"] == {"seed": 42, "ratio": "3:4", "size": "2K", "system": "be kind"}


def test_a_control_word_that_may_be_the_next_choice() -> None:
    inputs = (Input("seed", "INT"), Input("mode", "COMBO", options=("random", "fixed")), Input("n", "INT"))
    schemas = Schemas({}, {"A": NodeDef("A", inputs)})
    for values in ([1, "fixed", 4], [1, "randomize", "fixed", 4]):
        graph = parse_ui(ui([node(1, "A", [], [], values)], []), schemas)
        assert inputs_of(graph)["1"] == {"seed": 1, "mode": "fixed", "n": 4}


def test_a_control_word_that_could_be_either_is_refused_or_said() -> None:
    mode = Input("mode", "COMBO", default="random", options=("random", "fixed"))
    seed, count, speed = Input("seed", "INT"), Input("count", "INT"), Input("speed", "FLOAT")
    # Written before the class had the seed: count 5, mode "fixed"; or a seed of 5 that was fixed.
    older = Schemas({}, {"A": NodeDef("A", (seed, count, mode))})
    with pytest.raises(WorkflowError) as caught:
        parse_ui(ui([node(1, "A", [], [], [5, "fixed"])], []), older)
    (problem,) = caught.value.problems
    assert (problem.type, problem.node_id) == ("ambiguous_widgets", "1")
    assert "fixed" in problem.message
    # As many values as widgets: the number tells, and it is said. Names in the file leave no doubt.
    same = Schemas({}, {"A": NodeDef("A", (seed, mode, speed))})
    graph = parse_ui(ui([node(1, "A", [], [], [5, "fixed", 0.5])], []), same)
    assert inputs_of(graph)["1"] == {"seed": 5, "mode": "fixed", "speed": 0.5}
    assert [(w.type, w.node_id, w.severity) for w in graph.warnings] == [("control_word", "1", "warning")]
    named = {"seed": 5, "mode": "fixed", "speed": 0.5}
    assert parse_ui(ui([node(1, "A", [], [], [5, "fixed", 0.5], widgets_values_named=named)], []), same).warnings == ()


def test_a_widget_of_two_types() -> None:
    rate = Input("rate", "FLOAT,INT", default=25.0, extra={"widgetType": "FLOAT"})
    schemas = Schemas({}, {"A": NodeDef("A", (Input("n", "INT"), rate, Input("batch", "INT", default=1)))})
    graph = parse_ui(ui([node(1, "A", [], [], [97, 24, 2])], []), schemas)
    assert inputs_of(graph)["1"] == {"n": 97, "rate": 24, "batch": 2}


def test_widgets_that_the_browser_adds() -> None:
    assert one("ImageCompare", []) == {"compare_view": {"__value__": ["", ""]}}
    assert one("SaveGLB", ["3d/x", ""]) == {"filename_prefix": "3d/x", "image": ""}
    crop = {"x": 1, "y": 2, "width": 3, "height": 4}
    assert one("ImageCropV2", [crop, 1, 2, 3, 4]) == {"crop_region": crop}
    curve = {"points": [[0, 0], [1, 1]], "interpolation": "linear"}
    assert one("CurveEditor", [curve]) == {"curve": {"__type__": "CURVE", "__value__": curve}}


def test_a_custom_combo_sends_its_options_and_the_index_of_its_choice() -> None:
    expected = {"choice": "b", "index": 1, "option1": "a", "option2": "b", "option3": ""}
    assert one("CustomCombo", ["b", 1, "a", "b", ""]) == expected
    assert one("CustomCombo", ["b", "a", "b", ""]) == expected  # front ends that stored no index


def test_a_combo_with_control_has_a_filter_too() -> None:
    inputs = (Input("c", "COMBO", options=("a", "b"), control_after_generate=True), Input("s", "STRING"))
    schemas = Schemas({}, {"A": NodeDef("A", inputs)})
    for values in (["a", "increment", "", "x"], ["a", "increment", "x"], ["a", "x"]):
        graph = parse_ui(ui([node(1, "A", [], [], values)], []), schemas)
        assert inputs_of(graph)["1"] == {"c": "a", "s": "x"}


def test_null_is_no_choice() -> None:
    assert one("KSampler", [7, "fixed", 20, 8.0, None, "normal", 1.0]) == NAMED
    assert one("KSampler", [7, "fixed", 20, 8.0, "sample_euler", "normal", 1.0]) == NAMED


def test_a_fraction_for_a_whole_number_is_sent_and_said() -> None:
    graph = parse_ui(ui([node(1, "KSampler", [], [], [7, "fixed", 20.4, 8.0, "euler", "normal", 1.0])], []))
    assert inputs_of(graph)["1"]["steps"] == 20.4
    assert [w.type for w in graph.warnings] == ["value_coerced"]


def test_an_unknown_key_of_a_dynamic_combo_is_no_reason_to_shift() -> None:
    with pytest.raises(WorkflowError) as error:
        one("ResizeImageMaskNode", ["no such kind", 2, "area"])
    assert [p.type for p in error.value.problems] == ["ambiguous_widgets"]


def test_members_whose_order_nobody_knows_are_not_guessed() -> None:
    members = {"b": ["INT"], "a": ["INT"]}
    options = [{"key": "k", "inputs": {"required": members}, "unordered": True}]
    mode = Input("mode", "COMFY_DYNAMICCOMBO_V3", extra={"options": options})
    schemas = Schemas({}, {"A": NodeDef("A", (mode,))})
    with pytest.raises(WorkflowError):
        parse_ui(ui([node(1, "A", [], [], ["k", 1, 2])], []), schemas)
    named = {"mode": "k", "mode.b": 1, "mode.a": 2}
    graph = parse_ui(ui([node(1, "A", [], [], ["k", 1, 2], widgets_values_named=named)], []), schemas)
    assert inputs_of(graph)["1"] == named


def test_rows_of_a_dynamic_group() -> None:
    template = {"required": {"name": ["STRING", {}], "strength": ["FLOAT", {"default": 1.0}]}}
    group = Input("loras", "COMFY_DYNAMICGROUP_V3", extra={"template": template})
    schemas = Schemas({}, {"A": NodeDef("A", (group, Input("n", "INT")))})
    named = {"loras.0.name": "x", "loras.0.strength": 0.5, "loras.1.name": "y", "loras.1.strength": 1.0, "n": 3}
    listed = ["x", 0.5, "y", 1.0, 3]
    slots = [(f"{name}:STRING", None, name) for name in named if name != "n"]
    for inputs_, more in ((slots, {}), ([], {"widgets_values_named": named})):
        graph = parse_ui(ui([node(1, "A", list(inputs_), [], listed, **more)], []), schemas)
        assert inputs_of(graph)["1"] == named


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
    assert inputs_of(graph)["1"] == {"n": 4, "new": "p", "text": True}
    assert [w.type for w in graph.warnings] == ["default_filled"]


def test_a_text_box_that_takes_every_value_proves_nothing() -> None:
    # The first value may be a new choice: that it would fit the text box does not make it one.
    inputs = (Input("mode", "COMBO", options=("p", "q")), Input("a", "STRING"), Input("b", "STRING", default="-"))
    schemas = Schemas({}, {"A": NodeDef("A", inputs)})
    graph = parse_ui(ui([node(1, "A", [], [], ["r", "x"])], []), schemas)
    assert inputs_of(graph)["1"] == {"mode": "r", "a": "x", "b": "-"}


def test_a_choice_shows_where_a_widget_was_added() -> None:
    inputs = (Input("a", "COMBO", options=("x", "y")), Input("new", "COMBO", options=("p", "q")))
    schemas = Schemas({}, {"A": NodeDef("A", (*inputs, Input("c", "COMBO", options=("r", "s"))))})
    graph = parse_ui(ui([node(1, "A", [], [], ["y", "s"])], []), schemas)
    assert inputs_of(graph)["1"] == {"a": "y", "new": "p", "c": "s"}


def test_the_names_in_the_file_decide_when_the_schema_does_not_fit() -> None:
    schemas = Schemas({}, {"A": NodeDef("A", (Input("n", "INT"), Input("m", "INT")))})
    slots = [("s:STRING", None, "s"), ("f:FLOAT", None, "f")]
    graph = parse_ui(ui([node(1, "A", slots, [], ["x", 0.5])], []), schemas)
    assert inputs_of(graph)["1"] == {"n": 0, "m": 0}
    assert [w.type for w in graph.warnings] == ["default_filled", "widgets_left"]
    schemas = Schemas({}, {"A": NodeDef("A", (Input("n", "INT"), Input("s", "STRING"), Input("f", "FLOAT")))})
    graph = parse_ui(ui([node(1, "A", slots, [], ["x", 0.5])], []), schemas)
    assert inputs_of(graph)["1"] == {"n": 0, "s": "x", "f": 0.5}


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


def test_nothing_is_sent_only_where_the_rest_of_the_list_fits() -> None:
    graph = parse_ui(ui([node(1, "EmptyLatentImage", [], [], [512, None, 1])], []))
    assert inputs_of(graph)["1"] == {"width": 512, "height": None, "batch_size": 1}
    assert [w.type for w in graph.warnings] == ["value_coerced"]
    with pytest.raises(WorkflowError):
        one("KSampler", [None, "fixed", 20, 8.0, "of another version", "normal", 1.0])
