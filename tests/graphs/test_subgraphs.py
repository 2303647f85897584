"""Subgraphs: nesting, both ends, promoted widgets of three generations, several instances, muted and bypassed ones."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.errors import WorkflowError
from graphs.workflow import parse_ui
from tests.graphs.ui_files import SAMPLER_VALUES, inputs_of, loader, node, ui

Json = Any
INNER = "11111111-aaaa-4aaa-8aaa-000000000001"
OUTER = "11111111-aaaa-4aaa-8aaa-000000000002"


def link(id: Json, origin: Json, slot: int, target: Json, target_slot: int, type: str = "*") -> Json:
    ends = {"origin_id": origin, "origin_slot": slot, "target_id": target, "target_slot": target_slot}
    return {"id": id, **ends, "type": type}


def definition(id: str, inputs: list[str], outputs: list[str], nodes: list[Json], links: list[Json]) -> Json:
    def ends(texts: list[str]) -> list[Json]:
        return [{"id": f"{id}-{t}", "name": t.partition(":")[0], "type": t.partition(":")[2]} for t in texts]

    return {
        "id": id,
        "name": "My part",
        "inputNode": {"id": -10},
        "outputNode": {"id": -20},
        "inputs": ends(inputs),
        "outputs": ends(outputs),
        "nodes": nodes,
        "links": links,
    }


def sampler_part(id: str = INNER) -> Json:
    """model and the widgets seed and steps in; a latent out."""
    sampler = node(
        3,
        "KSampler",
        [("model:MODEL", 1), ("seed:INT", 2, "seed"), ("steps:INT", 3, "steps")],
        ["LATENT"],
        SAMPLER_VALUES,
    )
    links = [
        link(1, -10, 0, 3, 0, "MODEL"),
        link(2, -10, 1, 3, 1, "INT"),
        link(3, -10, 2, 3, 2, "INT"),
        link(4, 3, 0, -20, 0, "LATENT"),
    ]
    return definition(id, ["model:MODEL", "seed:INT", "steps:INT"], ["LATENT:LATENT"], [sampler], links)


def decode(samples: Json) -> Json:
    return node(9, "VAEDecode", [("samples:LATENT", samples), ("vae:VAE", 12)], ["IMAGE"])


def file(instance: Json, *definitions: Json, more: list[Json] | None = None, links: list[Json] | None = None) -> Json:
    wires = [[10, 1, 0, 5, 0, "MODEL"], [11, 5, 0, 9, 0, "LATENT"], [12, 1, 2, 9, 1, "VAE"], *(links or [])]
    return ui([loader(), instance, decode(11), *(more or [])], wires, definitions={"subgraphs": list(definitions)})


def test_an_instance_becomes_its_inside() -> None:
    instance = node(5, INNER, [("model:MODEL", 10)], ["LATENT"], [])
    graph = parse_ui(file(instance, sampler_part()))
    api = inputs_of(graph)
    assert list(api) == ["1", "9", "5:3"]
    assert api["9"]["samples"] == ["5:3", 0]
    assert api["5:3"]["model"] == ["1", 0]
    assert api["5:3"]["seed"] == 7  # nothing promoted: the inner node's own value
    assert ("5", "My part") in [(d[0], d[1]) for d in graph.dissolved]


@pytest.mark.parametrize(
    "promoted",
    [
        {"widgets_values": [42, 33]},
        {"widgets_values": [42, 33], "properties": {"proxyWidgets": [["-1", "seed"], ["3", "3: steps"]]}},
        {"properties": {"proxyWidgets": []}, "widgets_values_named": {"seed": 42, "steps": 33}},
        {
            "widgets_values": [42, "x", 33, "randomize"],
            "properties": {
                "proxyWidgets": [["3", "seed"], ["8", "$$preview"], ["3", "steps"], ["3", "control_after_generate"]]
            },
        },
    ],
)
def test_promoted_values_of_every_generation(promoted: Json) -> None:
    instance = {**node(5, INNER, [("model:MODEL", 10)], ["LATENT"]), **promoted}
    api = inputs_of(parse_ui(file(instance, sampler_part())))
    assert (api["5:3"]["seed"], api["5:3"]["steps"]) == (42, 33)


def test_a_proxy_without_value_leaves_the_inner_one() -> None:
    instance = node(5, INNER, [("model:MODEL", 10)], ["LATENT"], [None, 33])
    instance["properties"] = {"proxyWidgets": [["3", "seed"], ["3", "steps"], ["3", "cfg"]]}
    api = inputs_of(parse_ui(file(instance, sampler_part())))
    assert (api["5:3"]["seed"], api["5:3"]["steps"], api["5:3"]["cfg"]) == (7, 33, 8.0)


def test_a_link_into_a_promoted_widget_wins() -> None:
    instance = node(5, INNER, [("model:MODEL", 10), ("seed:INT", 13, "seed")], ["LATENT"], [42, 33])
    number = node(6, "PrimitiveInt", [], ["INT"], [77, "fixed"])
    graph = parse_ui(file(instance, sampler_part(), more=[number], links=[[13, 6, 0, 5, 1, "INT"]]))
    assert inputs_of(graph)["5:3"]["seed"] == ["6", 0]
    assert inputs_of(graph)["5:3"]["steps"] == 33


def test_a_primitive_outside_does_not_reach_the_widget_inside() -> None:
    # The front end of today sends the inner node's own value.
    instance = node(5, INNER, [("model:MODEL", 10), ("seed:INT", 13, "seed")], ["LATENT"], [42, 33])
    number = node(6, "PrimitiveNode", [], ["INT"], [77, "fixed"])
    graph = parse_ui(file(instance, sampler_part(), more=[number], links=[[13, 6, 0, 5, 1, "INT"]]))
    assert inputs_of(graph)["5:3"]["seed"] == 7
    assert [w.type for w in graph.warnings] == ["primitive_dropped"]


def test_inputs_are_bound_by_name_when_the_instance_lists_them_in_another_order() -> None:
    instance = node(5, INNER, [("steps:INT", 13, "steps"), ("model:MODEL", 10)], ["LATENT"], [42, 33])
    number = node(6, "PrimitiveInt", [], ["INT"], [77, "fixed"])
    whole = file(instance, sampler_part(), more=[number], links=[[13, 6, 0, 5, 0, "INT"]])
    next(entry for entry in whole["links"] if entry[0] == 10)[4] = 1
    api = inputs_of(parse_ui(whole))
    assert api["5:3"]["model"] == ["1", 0]
    assert api["5:3"]["steps"] == ["6", 0]


def test_values_beyond_the_promoted_widgets_are_dropped_and_said() -> None:
    graph = parse_ui(file(node(5, INNER, [("model:MODEL", 10)], ["LATENT"], [1, 2, 3]), sampler_part()))
    assert (inputs_of(graph)["5:3"]["seed"], inputs_of(graph)["5:3"]["steps"]) == (1, 2)
    assert [(w.type, w.node_id) for w in graph.warnings if w.severity == "warning"] == [("widgets_left", "5")]


def nested(outer_values: Json) -> Json:
    """OUTER holds an instance of INNER and passes model, seed and steps on."""
    inside = node(
        7, INNER, [("model:MODEL", 1), ("seed:INT", 2, "seed"), ("steps:INT", 3, "steps")], ["LATENT"], [1, 2]
    )
    links = [link(k, -10, k - 1, 7, k - 1) for k in (1, 2, 3)] + [link(4, 7, 0, -20, 0)]
    outer = definition(OUTER, ["model:MODEL", "seed:INT", "steps:INT"], ["LATENT:LATENT"], [inside], links)
    return file(node(5, OUTER, [("model:MODEL", 10)], ["LATENT"], outer_values), sampler_part(), outer)


def test_nested_instances_join_their_ids_and_pass_values_down() -> None:
    api = inputs_of(parse_ui(nested([42, 33])))
    assert api["9"]["samples"] == ["5:7:3", 0]
    assert api["5:7:3"]["model"] == ["1", 0]
    assert (api["5:7:3"]["seed"], api["5:7:3"]["steps"]) == (42, 33)


def test_nested_instances_keep_their_own_values_where_nothing_is_promoted() -> None:
    api = inputs_of(parse_ui(nested([])))
    assert (api["5:7:3"]["seed"], api["5:7:3"]["steps"]) == (1, 2)


def test_definitions_inside_definitions() -> None:
    whole = nested([42, 33])
    inner, outer = whole["definitions"]["subgraphs"]
    whole["definitions"]["subgraphs"] = [{**outer, "definitions": {"subgraphs": [inner]}}]
    assert inputs_of(parse_ui(whole))["5:7:3"]["seed"] == 42


def test_two_instances_of_one_definition_differ() -> None:
    first = node(5, INNER, [("model:MODEL", 10)], ["LATENT"], [1, 10])
    second = node(6, INNER, [("model:MODEL", 13)], ["LATENT"], [2, 20])
    api = inputs_of(parse_ui(file(first, sampler_part(), more=[second], links=[[13, 1, 0, 6, 0, "MODEL"]])))
    assert (api["5:3"]["seed"], api["6:3"]["seed"]) == (1, 2)


def test_a_straight_wire_through_a_subgraph() -> None:
    part = definition(INNER, ["x:LATENT"], ["y:LATENT"], [], [link(1, -10, 0, -20, 0)])
    source = node(6, "EmptyLatentImage", [], ["LATENT"], [64, 64, 1])
    instance = node(5, INNER, [("x:LATENT", 13)], ["y"])
    api = inputs_of(parse_ui(file(instance, part, more=[source], links=[[13, 6, 0, 5, 0, "LATENT"]])))
    assert api["9"]["samples"] == ["6", 0]


def test_a_muted_instance_is_gone_with_its_inside() -> None:
    instance = node(5, INNER, [("model:MODEL", 10)], ["LATENT"], [], mode=2)
    graph = parse_ui(file(instance, sampler_part()))
    assert list(graph.nodes) == ["1", "9"]
    assert "samples" not in inputs_of(graph)["9"]


def test_a_bypassed_instance_hands_on_by_type() -> None:
    instance = node(5, INNER, [("model:MODEL", 10), ("latent:LATENT", 13)], ["LATENT"], [], mode=4)
    source = node(6, "EmptyLatentImage", [], ["LATENT"], [64, 64, 1])
    api = inputs_of(parse_ui(file(instance, sampler_part(), more=[source], links=[[13, 6, 0, 5, 1, "LATENT"]])))
    assert api["9"]["samples"] == ["6", 0]


def test_a_subgraph_inside_itself_is_a_problem() -> None:
    part = definition(INNER, [], [], [node(7, INNER)], [])
    with pytest.raises(WorkflowError) as error:
        parse_ui(file(node(5, INNER), part))
    assert [p.type for p in error.value.problems] == ["subgraph_loop"]


def test_subgraphs_that_unfold_without_end_are_stopped() -> None:
    # 20 levels of 10 instances each would be 10^20 nodes.
    ids = [f"11111111-aaaa-4aaa-8aaa-0000000001{k:02d}" for k in range(20)]
    parts = [
        definition(id, [], [], [node(n, ids[k + 1] if k < 19 else "Note") for n in range(10)], [])
        for k, id in enumerate(ids)
    ]
    with pytest.raises(WorkflowError) as error:
        parse_ui(file(node(5, ids[0]), *parts))
    assert [p.type for p in error.value.problems] == ["too_large"]


def test_widgets_of_deeply_nested_definitions_are_found_once() -> None:
    # 30 levels with 10 wires each to the level below: looked at one by one these would be 10^30.
    ids = [f"11111111-aaaa-4aaa-8aaa-0000000002{k:02d}" for k in range(30)]
    parts = []
    for k, id in enumerate(ids):
        kind = ids[k + 1] if k < 29 else "EmptyLatentImage"
        wires = [link(n, -10, 0, n, 0) for n in range(10)]
        inside = [node(n, kind, [("x:INT", n)], mode=0 if n == 0 else 2) for n in range(10)]
        parts.append(definition(id, ["x:INT"], [], inside, wires))
    graph = parse_ui(file(node(5, ids[0], ["x:INT"]), *parts))
    assert len(graph) == 3


def test_a_definition_that_is_not_there_is_a_problem() -> None:
    instance = node(5, INNER, [("model:MODEL", 10)], ["LATENT"], [3])
    with pytest.raises(WorkflowError) as error:
        parse_ui(file(instance))
    assert [(p.node_id, p.class_type) for p in error.value.problems] == [("5", INNER)]
