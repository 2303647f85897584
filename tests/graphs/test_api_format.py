"""API JSON -> Graph -> API JSON, envelopes, and every way to write a bad link."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.errors import WorkflowError
from graphs.examples import NAMES, example
from graphs.node import Link
from graphs.workflow import parse_api, read_workflow, to_api

ONE = {"1": {"class_type": "KSampler", "inputs": {"seed": 3}}}


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_of_the_examples(name: str) -> None:
    text = example(name, api=True).read_text("utf-8")
    assert to_api(parse_api(json.loads(text))) == json.loads(text)
    assert list(to_api(parse_api(json.loads(text)))) == list(json.loads(text))


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_of_an_example_are_the_same_graph(name: str) -> None:
    ui, api = to_api(read_workflow(example(name))), to_api(read_workflow(example(name, api=True)))
    assert {k: (v["class_type"], v["inputs"]) for k, v in ui.items()} == {
        k: (v["class_type"], v["inputs"]) for k, v in api.items()
    }


def test_meta_is_kept_and_server_leftovers_are_not() -> None:
    entry = {
        "class_type": "A",
        "inputs": {},
        "_meta": {"title": "My A", "cnr_id": "pack", "ver": "1"},
        "is_changed": ["x"],
    }
    graph = parse_api({"5": entry})
    assert graph["5"].title == "My A"
    assert to_api(graph)["5"] == {"inputs": {}, "class_type": "A", "_meta": entry["_meta"]}


def test_ids_are_texts_of_any_form() -> None:
    graph = parse_api(
        {"KSampler": ONE["1"], "57:8": {"class_type": "B", "inputs": {"x": ["KSampler", 0], "y": [12, 0.0]}}}
    )
    assert graph["57:8"].links == {"x": Link("KSampler", 0), "y": Link("12", 0)}


def test_wrapped_lists_are_values() -> None:
    api = {"1": {"class_type": "A", "inputs": {"curve": {"__value__": ["2", 0]}, "dict": {"on": True}}}}
    graph = parse_api(api)
    assert graph["1"].inputs == {"curve": ["2", 0], "dict": {"on": True}}
    assert to_api(graph)["1"]["inputs"] == api["1"]["inputs"]


@pytest.mark.parametrize(
    "envelope",
    [
        {"prompt": ONE, "client_id": "c", "extra_data": {"extra_pnginfo": {"workflow": {"nodes": []}}}},
        {"input": {"workflow": ONE}},
        {"output": ONE, "workflow": {"nodes": [], "links": []}},
        {"_comment": "hello", **ONE},
    ],
)
def test_envelopes(envelope: dict[str, Any]) -> None:
    assert list(parse_api(envelope).nodes) == ["1"]


def test_keys_that_are_no_nodes_are_skipped_and_said() -> None:
    graph = read_workflow(json.dumps({"_comfyuimini_meta": {"title": "t"}, **ONE}).encode())
    assert len(graph) == 1
    assert [w.type for w in graph.warnings] == ["not_a_node"]


def test_every_fault_is_reported_at_once() -> None:
    bad = {
        "1": {
            "class_type": "A",
            "inputs": {"a": [1, 2, 3], "b": ["2"], "c": ["2", -1], "d": [True, 0], "e": ["2", "x"]},
        },
        "2": {"inputs": {}},
        "3": {"class_type": "A", "inputs": []},
        "4": {"class_type": 7, "inputs": {}},
    }
    with pytest.raises(WorkflowError) as error:
        parse_api(bad)
    found = [(p.node_id, p.input_name, p.type) for p in error.value.problems]
    assert found[:5] == [("1", k, "bad_linked_input") for k in "abcde"]
    assert [f[0] for f in found[5:]] == ["2", "3", "4"]
    assert error.value.exit_code == 3


def test_links_to_missing_nodes_stay_for_the_check() -> None:
    assert parse_api({"1": {"class_type": "A", "inputs": {"x": ["9", 0]}}})["1"].links == {"x": Link("9", 0)}


def test_a_cycle_is_reported_with_its_path() -> None:
    loop = {k: {"class_type": "A", "inputs": {"x": [v, 0]}} for k, v in (("1", "2"), ("2", "3"), ("3", "1"))}
    with pytest.raises(WorkflowError) as error:
        parse_api(loop)
    assert error.value.problems[0].type == "cycle"
    assert "1" in error.value.problems[0].message


def test_numbers_that_json_does_not_know() -> None:
    graph = read_workflow(b'{"1": {"class_type": "A", "inputs": {"x": NaN, "y": -Infinity}}}')
    assert math.isnan(graph["1"].widgets["x"])
    assert graph["1"].inputs["y"] == -math.inf


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=4), st.dictionaries(st.text(max_size=4), values, max_size=4), min_size=1
    )
)
def test_round_trip_of_any_values(nodes: dict[str, dict[str, Any]]) -> None:
    api = {
        k: {"inputs": {n: {"__value__": v} if isinstance(v, list) else v for n, v in inputs.items()}, "class_type": "A"}
        for k, inputs in nodes.items()
    }
    once = to_api(parse_api(api))
    assert to_api(parse_api(once)) == once
