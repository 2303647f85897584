"""Files are untrusted: whatever they hold, reading gives a Graph or one WorkflowError, soon."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphs.errors import WorkflowError
from graphs.examples import example
from graphs.workflow import parse_api, parse_ui, read_workflow, to_api
from tests.graphs.test_group_nodes import file as group_file
from tests.graphs.test_group_nodes import group
from tests.graphs.test_subgraphs import nested
from tests.graphs.ui_files import node, png, webp

Json = Any

SEEDS = [
    json.loads(example("default").read_text("utf-8")),
    json.loads(example("two_pass", api=True).read_text("utf-8")),
    nested([42, 33]),
    group_file(node(5, "workflow/Two texts", [("the clip:CLIP", 10)], ["A", "B"], ["first", "second"]), group()),
    {
        "prompt": {"1": {"class_type": "A", "inputs": {"x": ["2", 0]}}},
        "extra_data": {"extra_pnginfo": {"workflow": {}}},
    },
]
SEEDS[2]["extra"] = {"ue_links": [{"downstream": 9, "downstream_slot": 0, "upstream": 1, "upstream_slot": 0}]}
SEEDS[2]["nodes"][1]["properties"] = {"proxyWidgets": [["-1", "seed"], ["7", "steps"]]}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.sampled_from([2**63, 10**40, -(10**40), 0.5, 1e300, float("nan"), float("inf")]),
    st.sampled_from(
        ["", "-10", "-20", "1", "5", "KSampler", "Reroute", "SetNode", "*", "x" * 600, "\ud800", "workflow/Two texts"]
    ),
)
junk = st.one_of(
    scalars,
    st.lists(scalars, max_size=7),
    st.dictionaries(
        st.sampled_from(["id", "name", "type", "link", "widget", "nodes", "links", "class_type"]), scalars, max_size=4
    ),
)


def places(value: Json) -> list[tuple[Json, Json]]:
    """(container, key) of everything inside a JSON value."""
    found, pending = [], [value]
    while pending:
        container = pending.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                pending.append(container[key])
    return found


def read(data: bytes) -> str:
    """The API form or the error. Anything but a WorkflowError fails the test."""
    try:
        graph = read_workflow(data)
    except WorkflowError as error:
        return str(error)
    return json.dumps(to_api(graph))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(SEEDS) - 1), st.data())
def test_any_part_of_a_file_may_be_anything(which: int, data: st.DataObject) -> None:
    file = copy.deepcopy(SEEDS[which])
    for _ in range(data.draw(st.integers(1, 4))):
        spots = places(file)
        if not spots:
            break
        container, key = spots[data.draw(st.integers(0, len(spots) - 1))]
        action = data.draw(st.sampled_from(["replace", "replace", "delete", "swap"]))
        if action == "delete" and isinstance(container, dict):
            del container[key]
        elif action == "swap":
            other, at = spots[data.draw(st.integers(0, len(spots) - 1))]
            container[key] = copy.deepcopy(other[at])
        else:
            container[key] = data.draw(junk)
    assert 0 < len(read(json.dumps(file).encode())) < 2_000_000


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [
            png([(b"tEXt", b"prompt\0" + json.dumps(SEEDS[1]).encode())]),
            webp([(0x0110, b"prompt:" + json.dumps(SEEDS[4]).encode())]),
            json.dumps(SEEDS[4]).encode(),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=3)), max_size=6),
)
def test_any_byte_of_a_file_may_be_anything(file: bytes, changes: list[tuple[int, bytes]]) -> None:
    damaged = bytearray(file)
    for at, with_bytes in changes:
        at %= max(len(damaged), 1)
        damaged[at : at + len(with_bytes)] = with_bytes
    assert 0 < len(read(bytes(damaged))) < 2_000_000


@given(st.binary(max_size=200))
def test_bytes(data: bytes) -> None:
    assert 0 < len(read(data)) < 2_000_000


@settings(max_examples=100)
@given(
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    )
)
def test_loaded_json_of_any_form(value: Json) -> None:
    for parse in (parse_api, parse_ui):
        with pytest.raises(WorkflowError):
            parse(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "nested deeper"),
        ('{"a":' * 100_000, "nested deeper"),
        ("[" * 300 + "]" * 300, "nested deeper"),
        ('{"1": {"class_type": "A", "inputs": {"x": ' + "9" * 5000 + "}}}", "integer string"),
        ('{"' + "i" * 2000 + '": {"class_type": "A"}}', "2000 characters"),
    ],
)
def test_sizes_are_bounded(text: str, says: str) -> None:
    with pytest.raises(WorkflowError) as error:
        read_workflow(text.encode())
    assert says in str(error.value)
    assert len(str(error.value)) < 1000


def test_complaints_are_bounded() -> None:
    with pytest.raises(WorkflowError) as error:
        read_workflow(json.dumps({str(i): {"class_type": 5} for i in range(5000)}).encode())
    assert len(error.value.problems) == 1000


def test_a_long_chain_of_reroutes_takes_linear_time() -> None:
    nodes = [node(i, "Reroute", [(":*", i or None)], ["*"]) for i in range(5000)]
    links = [[i, i - 1, 0, i, 0, "*"] for i in range(1, 5001)]
    consumer = node(5000, "VAEDecode", [("samples:LATENT", 5000)], ["IMAGE"])
    graph = parse_ui({"nodes": [*nodes, consumer], "links": links})
    assert list(graph.nodes) == ["5000"]
