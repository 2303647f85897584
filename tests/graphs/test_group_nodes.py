"""Group nodes: inner links, shown inputs and outputs, dealt values, absorbed reroutes and primitives."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.errors import WorkflowError
from graphs.workflow import parse_ui
from tests.graphs.ui_files import inputs_of, loader, node, ui

Json = Any


def inner(
    index: int, type: str, inputs: list[Json] | None = None, outputs: list[str] | None = None, values: Json = None
) -> Json:
    return {**node(None, type, inputs, outputs, values), "index": index}


def group(**more: Json) -> Json:
    """clip through a reroute into two encoders; the second's text is shown under another name."""
    return {
        "nodes": [
            inner(0, "Reroute", [":*"], ["*"]),
            inner(1, "CLIPTextEncode", ["clip:CLIP"], ["CONDITIONING"], ["one"]),
            inner(2, "CLIPTextEncode", ["clip:CLIP"], ["CONDITIONING"], ["two"]),
            inner(
                3,
                "ConditioningCombine",
                ["conditioning_1:CONDITIONING", "conditioning_2:CONDITIONING"],
                ["CONDITIONING"],
            ),
        ],
        "links": [
            [None, 1, 0, 0, 4, "CLIP"],
            [0, 0, 1, 0, 1, "CLIP"],
            [0, 0, 2, 0, 1, "CLIP"],
            [1, 0, 3, 0, 2, "CONDITIONING"],
            [2, 0, 3, 1, 3, "CONDITIONING"],
        ],
        "external": [[2, 0, "CONDITIONING"]],
        "config": {"0": {"input": {"CLIP": {"name": "the clip"}}}},
        **more,
    }


def sampler(positive: Json, negative: Json) -> Json:
    return node(
        9, "KSampler", [("positive:CONDITIONING", positive), ("negative:CONDITIONING", negative)], ["LATENT"],
        [1, "fixed", 20, 8, "euler", "normal", 1],
    )  # fmt: skip


def file(instance: Json, definition: Json) -> Json:
    links = [[10, 1, 1, 5, 0, "CLIP"], [11, 5, 1, 9, 0, "CONDITIONING"], [12, 5, 0, 9, 1, "CONDITIONING"]]
    return ui([loader(), instance, sampler(11, 12)], links, extra={"groupNodes": {"Two texts": definition}})


@pytest.mark.parametrize("prefix", ["workflow/", "workflow>"])
def test_a_group_becomes_its_inside(prefix: str) -> None:
    instance = node(
        5, prefix + "Two texts", [("the clip:CLIP", 10)], ["CONDITIONING", "CONDITIONING"], ["first", "second"]
    )
    graph = parse_ui(file(instance, group()))
    api = inputs_of(graph)
    assert list(api) == ["1", "9", "5:1", "5:2", "5:3"]
    assert api["5:1"] == {"text": "first", "clip": ["1", 1]}
    assert api["5:2"] == {"text": "second", "clip": ["1", 1]}
    assert api["5:3"] == {"conditioning_1": ["5:1", 0], "conditioning_2": ["5:2", 0]}
    assert api["9"]["positive"] == ["5:3", 0]
    assert api["9"]["negative"] == ["5:2", 0]  # consumed inside, and shown because it is used outside as well


def test_a_group_without_values_keeps_the_inner_ones() -> None:
    instance = node(5, "workflow/Two texts", [("the clip:CLIP", 10)], ["CONDITIONING", "CONDITIONING"])
    api = inputs_of(parse_ui(file(instance, group())))
    assert (api["5:1"]["text"], api["5:2"]["text"]) == ("one", "two")


def test_values_that_do_not_fit_are_a_problem() -> None:
    instance = node(5, "workflow/Two texts", [("the clip:CLIP", 10)], ["CONDITIONING", "CONDITIONING"], ["a", "b", 3])
    with pytest.raises(WorkflowError) as error:
        parse_ui(file(instance, group()))
    assert [(p.type, p.node_id) for p in error.value.problems] == [("ambiguous_widgets", "5")]


def test_equal_names_get_the_inner_title() -> None:
    definition = group(links=[], external=[], config={})
    definition["nodes"] = [definition["nodes"][1], {**definition["nodes"][2], "title": "Negative"}]
    slots = [("clip:CLIP", 10), ("Negative clip:CLIP", 13)]
    instance = node(5, "workflow/Two texts", slots, ["CONDITIONING", "CONDITIONING"], ["a", "b"])
    whole = file(instance, definition)
    whole["links"].append([13, 1, 1, 5, 1, "CLIP"])
    api = inputs_of(parse_ui(whole))
    assert api["5:0"] == {"text": "a", "clip": ["1", 1]}
    assert api["5:1"] == {"text": "b", "clip": ["1", 1]}


def test_an_inner_primitive_is_a_widget_of_the_group() -> None:
    definition = {
        "nodes": [
            inner(0, "PrimitiveNode", [], ["INT"], [3, "fixed"]),
            inner(1, "EmptyLatentImage", [("width:INT", None, "width")], ["LATENT"], [64, 32, 1]),
        ],
        "links": [[0, 0, 1, 0, 1, "INT"]],
    }
    instance = node(5, "workflow/Size", [], ["LATENT"], [512, "randomize", 256, 2])
    graph = parse_ui(ui([instance], [], extra={"groupNodes": {"Size": definition}}))
    assert inputs_of(graph) == {"5:1": {"width": 512, "height": 256, "batch_size": 2}}


def test_a_bypassed_group_hands_on_by_type_and_a_muted_one_gives_nothing() -> None:
    for mode in (2, 4):
        instance = node(5, "workflow/Two texts", [("the clip:CLIP", 10)], ["CONDITIONING"], ["a", "b"], mode=mode)
        graph = parse_ui(file(instance, group()))
        assert list(graph.nodes) == ["1", "9"]
        assert graph["9"].links == {}


@pytest.mark.parametrize(
    "broken", [5, {"nodes": 3}, {"nodes": [7]}, {"nodes": [{"type": "A"}], "links": [[0, 0, 9, 0]]}]
)
def test_a_broken_definition_is_a_problem(broken: Json) -> None:
    with pytest.raises(WorkflowError) as error:
        parse_ui(file(node(5, "workflow/Two texts"), broken))
    assert error.value.problems[0].type in ("bad_group_node", "bad_link")
