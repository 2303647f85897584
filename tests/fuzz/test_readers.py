"""Mutations of real files: whatever a reader is given, it answers, or raises one WorkflowError, soon.

A short run is part of the fast tests; the long one is marked slow. Time is the processor's own, so that a busy machine
makes no failures.
"""

from __future__ import annotations

import copy
import json
import random
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphs.errors import WorkflowError
from graphs.examples import example
from graphs.reading.dynamic_prompts import resolve, without_comments
from graphs.schemas import builtin
from graphs.workflow import read_workflow, to_api
from tests.graphs.ui_files import png, webp

Json = Any

SECONDS = 2.0  # of the processor, for one input
RECORDED = json.loads((Path(__file__).parents[1] / "graphs/frontend_1_58_1.json").read_text("utf-8"))
WORKFLOWS: list[Json] = [
    json.loads(example("default").read_text("utf-8")),
    json.loads(example("two_pass", api=True).read_text("utf-8")),
    *(case["ui"] for case in RECORDED["cases"]),
]
LENGTHS = pytest.mark.parametrize(
    "rounds", [pytest.param(300, id="short"), pytest.param(20_000, id="long", marks=pytest.mark.slow)]
)
JUNK: list[Json] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**63,
    10**40,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "-10",
]
JUNK += [
    "-20",
    "1",
    "fixed",
    "*",
    "x" * 600,
    "\ud800",
    "%KSampler.seed%",
    "{a|{b",
    "/* ",
    "KSampler",
    "Reroute",
    "SetNode",
]
JUNK += ["PrimitiveNode", "CustomCombo", [], {}, [[]], [None], [1, 2], {"a": 1}, [["-1", "text"]], {"__value__": []}]
KEYS = [
    "id",
    "type",
    "mode",
    "inputs",
    "outputs",
    "widgets_values",
    "widgets_values_named",
    "properties",
    "links",
    "nodes",
]
KEYS += [
    "definitions",
    "extra",
    "proxyWidgets",
    "title",
    "linkIds",
    "subgraphs",
    "groupNodes",
    "ue_links",
    "class_type",
]


def places(value: Json) -> list[tuple[Json, Json]]:
    """(container, key) of everything inside a JSON value."""
    found: list[tuple[Json, Json]] = []
    pending = [value]
    while pending:
        container = pending.pop()
        for key in list(container) if isinstance(container, dict) else range(len(container)):
            found.append((container, key))
            if isinstance(container[key], dict | list):
                pending.append(container[key])
    return found


def mutated(seed: Json, draw: random.Random) -> Json:
    file = copy.deepcopy(seed)
    for _ in range(draw.randint(1, 5)):
        spots = places(file)
        if not spots:
            break
        container, key = draw.choice(spots)
        action = draw.random()
        if action < 0.15 and isinstance(container, dict):
            del container[key]
        elif action < 0.3 and isinstance(container, dict):
            container[draw.choice(KEYS)] = copy.deepcopy(draw.choice(JUNK))
        elif action < 0.45 and isinstance(container, list):
            container.extend(copy.deepcopy(container[: draw.randint(0, 20)]))
        elif action < 0.7:
            other, at = draw.choice(spots)
            container[key] = copy.deepcopy(other[at])
        else:
            container[key] = copy.deepcopy(draw.choice(JUNK))
    return file


def soon(work: Callable[[], object]) -> None:
    """Runs the work. Only a WorkflowError with a short text may come out of it."""
    began, said = time.process_time(), "read"
    try:
        work()
    except WorkflowError as error:
        said = str(error)
    assert 0 < len(said) < 2_000_000
    assert time.process_time() - began < SECONDS


@LENGTHS
def test_workflows(rounds: int) -> None:
    draw, schemas = random.Random(8), builtin().with_object_info(RECORDED["classes"])
    for _ in range(rounds):
        data = json.dumps(mutated(draw.choice(WORKFLOWS), draw)).encode()
        soon(lambda data=data: json.dumps(to_api(read_workflow(data, schemas))))  # type: ignore[misc]


@LENGTHS
def test_object_info(rounds: int) -> None:
    draw = random.Random(9)
    node = {"id": 1, "type": "XNum", "widgets_values": [1, 2, 3, "a", True, "b"]}
    for _ in range(rounds):
        dump = mutated(RECORDED["classes"], draw)
        data = json.dumps({"nodes": [node, *({**node, "id": k, "type": c} for k, c in enumerate(RECORDED["classes"]))]})
        soon(lambda dump=dump, data=data: read_workflow(data.encode(), builtin().with_object_info(dump)))  # type: ignore[misc]


@LENGTHS
def test_pictures(rounds: int) -> None:
    draw = random.Random(10)
    text = json.dumps(WORKFLOWS[0]).encode()
    packed = b"workflow\0\0" + zlib.compress(text)
    seeds = [png([(b"tEXt", b"prompt\0" + text)]), png([(b"zTXt", packed)]), webp([(0x0110, b"workflow:" + text)])]
    for _ in range(rounds):
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(data))
            data[at : at + draw.randint(0, 4)] = draw.randbytes(draw.randint(0, 4))
        soon(lambda data=bytes(data): read_workflow(data))  # type: ignore[misc]


@LENGTHS
def test_texts(rounds: int) -> None:
    draw = random.Random(11)
    for _ in range(rounds):
        text = "".join(draw.choices(["{", "}", "|", "\\", "/", "*", "a", "\n", "//", "/*", "*/", "\u0301"], k=40))
        soon(lambda text=text: resolve(text, random.Random(1)))  # type: ignore[misc]
        soon(lambda text=text: without_comments(text * 1000))  # type: ignore[misc]
