"""Reroutes, muted and bypassed nodes, primitives, set and get nodes, broadcasts, and links that lead nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.errors import WorkflowError
from graphs.reading.links import bypass_slot, types_connect
from graphs.reading.ui_graph import UiInput, UiNode
from graphs.workflow import parse_ui
from tests.graphs.ui_files import SAMPLER_VALUES, convert, inputs_of, loader, node, text, ui

MUTED, BYPASSED = 2, 4


def decode(id: Any, samples: Any, vae: Any, **more: Any) -> dict[str, Any]:
    return node(id, "VAEDecode", [("samples:LATENT", samples), ("vae:VAE", vae)], ["IMAGE"], **more)


def scale(id: Any, image: Any, **more: Any) -> dict[str, Any]:
    return node(id, "ImageScaleBy", [("image:IMAGE", image)], ["IMAGE"], ["area", 2.0], **more)


def test_reroutes_vanish_in_chains() -> None:
    nodes = [
        loader(),
        node(2, "Reroute", [(":*", 1)], ["*"]),
        node(3, "Reroute (rgthree)", [(":*", 2)], ["*"]),
        text(4, 3),
    ]
    graph = parse_ui(ui(nodes, [[1, 1, 1, 2, 0, "*"], [2, 2, 0, 3, 0, "*"], [3, 3, 0, 4, 0, "CLIP"]]))
    assert inputs_of(graph)["4"] == {"text": "a cat", "clip": ["1", 1]}
    assert [(d[0], d[1]) for d in graph.dissolved] == [("2", "Reroute"), ("3", "Reroute (rgthree)")]


def test_a_muted_source_leaves_the_input_open() -> None:
    nodes = [{**loader(), "mode": MUTED}, text(4, 1)]
    graph = parse_ui(ui(nodes, [[1, 1, 1, 4, 0, "CLIP"]]))
    assert inputs_of(graph) == {"4": {"text": "a cat"}}
    assert graph.dissolved == (("1", "CheckpointLoaderSimple", "muted"),)
    assert [(w.type, w.node_id, w.input_name) for w in graph.warnings] == [("muted_source", "4", "clip")]


def test_a_bypassed_node_hands_on_what_it_took() -> None:
    nodes = [loader(), decode(2, None, 1), scale(3, 2, mode=BYPASSED), scale(4, 3, mode=BYPASSED), scale(5, 4)]
    links = [[1, 1, 2, 2, 1, "VAE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"], [4, 4, 0, 5, 0, "IMAGE"]]
    graph = parse_ui(ui(nodes, links))
    assert inputs_of(graph)["5"]["image"] == ["2", 0]
    assert graph.dissolved == (("3", "ImageScaleBy", "bypassed"), ("4", "ImageScaleBy", "bypassed"))


def test_a_bypassed_node_without_such_an_input_drops_the_link() -> None:
    nodes = [loader(), decode(2, None, 1, mode=BYPASSED), scale(5, 2)]
    graph = parse_ui(ui(nodes, [[1, 1, 2, 2, 1, "VAE"], [2, 2, 0, 5, 0, "IMAGE"]]))
    assert "image" not in inputs_of(graph)["5"]
    assert [w.type for w in graph.warnings] == ["bypass_dropped"]


def test_a_bypassed_lora_hands_on_model_and_clip() -> None:
    lora = node(
        2,
        "LoraLoader",
        [("model:MODEL", 1), ("clip:CLIP", 2)],
        ["MODEL", "CLIP"],
        ["l.safetensors", 1, 1],
        mode=BYPASSED,
    )
    nodes = [loader(), lora, text(3, 3), node(4, "KSampler", [("model:MODEL", 4)], ["LATENT"], SAMPLER_VALUES)]
    links = [[1, 1, 0, 2, 0, "MODEL"], [2, 1, 1, 2, 1, "CLIP"], [3, 2, 1, 3, 0, "CLIP"], [4, 2, 0, 4, 0, "MODEL"]]
    api = convert(nodes, links)
    assert api["3"]["clip"] == ["1", 1]
    assert api["4"]["model"] == ["1", 0]


def bypassed(inputs: list[str], outputs: list[str]) -> UiNode:
    return UiNode("1", "A", BYPASSED, [UiInput(t.lower(), t) for t in inputs], [(t, t) for t in outputs])


@pytest.mark.parametrize(
    ("inputs", "outputs", "slot", "wanted", "chosen"),
    [
        (["IMAGE", "MASK"], ["MASK"], 0, "MASK", 1),  # first of exactly the consumer's type
        (["CONDITIONING", "CONDITIONING"], ["CONDITIONING", "CONDITIONING"], 1, "CONDITIONING", 1),  # same index first
        (["VAE", "IMAGE"], ["IMAGE", "MASK"], 1, "*", 1),  # a consumer of anything: same index
        (["VAE"], ["IMAGE", "MASK"], 1, "*", 0),  # ... or the first
        (["VAE", "IMAGE,MASK"], ["IMAGE"], 0, "IMAGE", 1),  # lists that meet
        (["VAE", "LATENT"], ["IMAGE"], 0, "IMAGE", None),
        (["*"], ["*"], 0, "MODEL", 0),
        ([], ["IMAGE"], 0, "*", None),
    ],
)
def test_which_input_a_bypass_hands_on(
    inputs: list[str], outputs: list[str], slot: int, wanted: str, chosen: int | None
) -> None:
    assert bypass_slot(bypassed(inputs, outputs), slot, wanted) == chosen


def test_types_connect_without_case_and_by_wildcard() -> None:
    assert types_connect("image", "IMAGE")
    assert types_connect("*", "VAE")
    assert types_connect("INT,FLOAT", "FLOAT,STRING")
    assert not types_connect("IMAGE", "MASK")


def test_a_primitive_writes_its_value() -> None:
    nodes = [
        node(1, "PrimitiveNode", [], ["INT"], [99, "randomize"]),
        node(2, "Reroute", [(":*", 2)], ["*"]),
        node(3, "KSampler", [("seed:INT", 1, "seed")], [], SAMPLER_VALUES),
        node(4, "KSampler", [("seed:INT", 3, "seed")], [], SAMPLER_VALUES),
    ]
    links = [[1, 1, 0, 3, 0, "INT"], [2, 1, 0, 2, 0, "*"], [3, 2, 0, 4, 0, "INT"]]
    graph = parse_ui(ui(nodes, links))
    assert inputs_of(graph)["3"]["seed"] == 99
    assert inputs_of(graph)["4"]["seed"] == 99
    assert sorted(graph.nodes) == ["3", "4"]


def test_a_primitive_without_value_leaves_the_widgets_own() -> None:
    nodes = [node(1, "PrimitiveNode", [], ["INT"]), node(3, "KSampler", [("seed:INT", 1, "seed")], [], SAMPLER_VALUES)]
    assert convert(nodes, [[1, 1, 0, 3, 0, "INT"]])["3"]["seed"] == 7


def test_set_and_get_nodes() -> None:
    nodes = [
        loader(),
        node(2, "SetNode", [("CLIP:CLIP", 1)], ["*"], ["my clip"]),
        node(3, "GetNode", [], ["CLIP"], ["my clip"]),
        text(4, 2),
        node(5, "GetNode", [], ["CLIP"], ["other"]),
        text(6, 3),
    ]
    links = [[1, 1, 1, 2, 0, "CLIP"], [2, 3, 0, 4, 0, "CLIP"], [3, 5, 0, 6, 0, "CLIP"]]
    graph = parse_ui(ui(nodes, links))
    assert inputs_of(graph)["4"]["clip"] == ["1", 1]
    assert "clip" not in inputs_of(graph)["6"]
    assert [(w.type, w.node_id) for w in graph.warnings] == [("missing_variable", "6")]


def test_two_set_nodes_of_one_name_are_said() -> None:
    nodes = [loader(), *(node(i, "SetNode", [("CLIP:CLIP", i)], ["*"], ["c"]) for i in (2, 3))]
    graph = parse_ui(ui(nodes, [[2, 1, 1, 2, 0, "CLIP"], [3, 1, 1, 3, 0, "CLIP"]]))
    assert [(w.type, w.node_id) for w in graph.warnings] == [("ambiguous_variable", "3")]


def test_broadcast_links_of_use_everywhere() -> None:
    nodes = [loader(), node(2, "Anything Everywhere", [("CLIP:*", 1)], []), text(4, None), text(5, 2)]
    entries = [
        {"downstream": d, "downstream_slot": 0, "upstream": "1", "upstream_slot": 1, "controller": 2, "type": "CLIP"}
        for d in (4, 5, 77)
    ]
    links = [[1, 1, 1, 2, 0, "CLIP"], [2, 1, 2, 5, 0, "CLIP"]]
    graph = parse_ui(ui(nodes, links, extra={"ue_links": entries}))
    assert inputs_of(graph)["4"]["clip"] == ["1", 1]
    assert inputs_of(graph)["5"]["clip"] == ["1", 2]  # a link of its own wins
    assert [d[1] for d in graph.dissolved] == ["Anything Everywhere"]
    assert [w.type for w in graph.warnings] == ["dangling_link"]


def test_broadcasts_of_files_without_ue_links() -> None:
    nodes = [
        loader(),
        node(2, "Anything Everywhere3", [("CLIP:*", 1), ("VAE:*", 3), "anything:*"], []),
        node(3, "Reroute", [(":*", 2)], ["*"]),
        text(4, None),
        decode(5, None, None),
        decode(6, None, None, mode=MUTED),
    ]
    links = [[1, 1, 1, 2, 0, "CLIP"], [2, 1, 2, 3, 0, "*"], [3, 3, 0, 2, 1, "*"]]
    graph = parse_ui(ui(nodes, links))
    assert inputs_of(graph)["4"]["clip"] == ["1", 1]
    assert inputs_of(graph)["5"] == {"vae": ["1", 2]}
    assert [(w.type, w.node_id) for w in graph.warnings] == [("broadcast", "2")]
    assert "4.clip, 5.vae" in graph.warnings[0].message


def test_broadcasts_that_a_file_does_not_settle_are_problems() -> None:
    pattern = node(2, "Anything Everywhere?", [("CLIP:*", 1)], [])
    twice = [node(k, "Anything Everywhere", [("CLIP:*", k)], []) for k in (3, 4)]
    links = [[k, 1, 1, target, 0, "CLIP"] for k, target in ((1, 2), (3, 3), (4, 4))]
    with pytest.raises(WorkflowError) as error:
        convert([loader(), pattern, *twice, text(5, None)], links)
    assert [(p.type, p.node_id) for p in error.value.problems] == [
        ("unknown_broadcast", "2"),
        ("ambiguous_broadcast", "4"),
    ]


def test_notes_and_browser_controls_vanish() -> None:
    kinds = ["Note", "MarkdownNote", "Fast Groups Muter (rgthree)", "Label (rgthree)"]
    graph = parse_ui(ui([loader(9), *(node(i, kind, [], [], ["words"]) for i, kind in enumerate(kinds))], []))
    assert list(graph.nodes) == ["9"]
    assert [d[1] for d in graph.dissolved] == kinds


def test_links_as_objects_holes_and_slots_as_text() -> None:
    links = [None, {"id": 3, "origin_id": 1, "origin_slot": "1", "target_id": 4, "target_slot": 0, "type": "CLIP"}]
    assert convert([loader(), text(4, 3)], links)["4"]["clip"] == ["1", 1]


def test_the_consumers_inputs_decide_over_a_stale_target_slot() -> None:
    nodes = [loader(), decode(2, None, 1)]
    assert convert(nodes, [[1, 1, 2, 2, 7, "VAE"]])["2"] == {"vae": ["1", 2]}


def test_dangling_links_are_said() -> None:
    graph = parse_ui(ui([text(4, 3), text(5, 8)], [[8, 77, 0, 5, 0, "CLIP"]]))
    assert inputs_of(graph) == {"4": {"text": "a cat"}, "5": {"text": "a cat"}}
    assert [(w.type, w.node_id) for w in graph.warnings] == [("dangling_link", "4"), ("dangling_link", "5")]


def test_reroutes_in_a_circle_end() -> None:
    nodes = [node(1, "Reroute", [(":*", 2)], ["*"]), node(2, "Reroute", [(":*", 1)], ["*"]), text(3, 3)]
    graph = parse_ui(ui(nodes, [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 1, 0, 3, 0, "CLIP"]]))
    assert [w.type for w in graph.warnings] == ["link_loop"]


def test_a_cycle_of_real_nodes_is_an_error() -> None:
    with pytest.raises(WorkflowError) as error:
        convert([scale(1, 2), scale(2, 1)], [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 1, 0, "IMAGE"]])
    assert error.value.problems[0].type == "cycle"


def test_version_1_with_native_reroutes() -> None:
    link = {"id": 1, "origin_id": 1, "origin_slot": 1, "target_id": 4, "target_slot": 0, "type": "CLIP", "parentId": 2}
    file = {
        "version": 1,
        "state": {"lastNodeId": 4, "lastLinkId": 1, "lastGroupId": 0, "lastRerouteId": 2},
        "nodes": [loader(), text(4, 1)],
        "links": [link],
        "reroutes": [{"id": 2, "pos": [0, 0], "linkIds": [1]}],
    }
    assert inputs_of(parse_ui(file))["4"]["clip"] == ["1", 1]


def test_whole_numbers_come_first_in_order() -> None:
    nodes = [loader("b"), loader(10), loader("a:1"), loader(2)]
    assert list(convert(nodes, [])) == ["2", "10", "b", "a:1"]


def test_titles_go_to_meta() -> None:
    graph = parse_ui(ui([text(4, None, title="Positive"), text(5, None)], []))
    assert [n.title for n in graph] == ["Positive", "CLIP Text Encode (Prompt)"]


def test_every_fault_of_the_file_at_once() -> None:
    nodes: list[Any] = [5, {"id": 1}, {"type": "A"}, loader(2), loader(2), {"id": 3, "type": "A", "inputs": 7}]
    with pytest.raises(WorkflowError) as error:
        convert(nodes, ["x", [1, 2], [None, 1, 0, 2, 0, "*"]])
    kinds = [p.type for p in error.value.problems]
    assert kinds == ["bad_node", "bad_node", "bad_node_id", "bad_node", *["bad_link"] * 3]
