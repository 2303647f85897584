"""Files that are small and ask for much: each reads in time linear in its size, or is refused at a bound."""

from __future__ import annotations

import json
import random
import time
import zlib
from typing import Any

import pytest

from graphs.errors import WorkflowError
from graphs.reading.dynamic_prompts import resolve, without_comments
from graphs.schemas import builtin
from graphs.workflow import read_workflow
from tests.graphs.ui_files import node, png, ui, webp

Json = Any

COUNT = 5000
SECONDS = 10.0  # of the processor; each takes about one on an idle core, quadratic ones took minutes


def reroutes(kind: str, mode: int) -> Json:
    """A chain of nodes that are resolved away, each with a consumer of its own."""
    inner = [node(i, kind, [(":IMAGE", i)], ["IMAGE"], mode=mode) for i in range(1, COUNT)]
    ends = [node(COUNT + i, "PreviewImage", [("images:IMAGE", COUNT + i)]) for i in range(1, COUNT)]
    links = [[i, i - 1, 0, i, 0, "*"] for i in range(1, COUNT)]
    links += [[COUNT + i, i, 0, COUNT + i, 0, "*"] for i in range(1, COUNT)]
    return ui([node(0, "LoadImage", [], ["IMAGE"], ["a.png"]), *inner, *ends], links)


def doubling(depth: int, id: str) -> Json:
    """Subgraphs that each hold two instances of the next."""
    kinds = [f"u{d}" for d in range(depth)] + ["ImageInvert"]
    definitions = [
        {"id": kinds[d], "name": "d", "nodes": [node(f"{id}{k}", kinds[d + 1]) for k in (1, 2)], "links": []}
        for d in range(depth)
    ]
    return ui([node(1, "u0")], [], definitions={"subgraphs": definitions})


def broadcasts() -> Json:
    chain = [node(i, "Reroute", [(":*", i)], ["*"]) for i in range(COUNT)]
    senders = [node(COUNT + i, "Anything Everywhere", [("a:*", COUNT + i)]) for i in range(COUNT)]
    links = [[i, i - 1, 0, i, 0, "*"] for i in range(COUNT)]
    links += [[COUNT + i, i, 0, COUNT + i, 0, "*"] for i in range(COUNT)]
    return ui([*chain, *senders], links)


def ring(count: int, step: int) -> Json:
    nodes = [node(i, "ImageInvert", [("image:IMAGE", i)], ["IMAGE"]) for i in range(count)]
    return ui(nodes, [[i, i ^ 1 if step == 2 else (i - 1) % count, 0, i, 0, "IMAGE"] for i in range(count)])


def wide(count: int) -> Json:
    """A subgraph with so many inputs, each for a widget of a node of its own, and an instance with a value for each."""
    inner = [node(i, "EmptyImage", [("width:INT", i, "width")]) for i in range(count)]
    links = [
        {"id": i, "origin_id": -10, "origin_slot": i, "target_id": i, "target_slot": 0, "type": "INT"}
        for i in range(count)
    ]
    inputs = [{"name": f"i{i}", "type": "INT"} for i in range(count)]
    definition = {"id": "u", "name": "wide", "inputs": inputs, "nodes": inner, "links": links}
    saves = [node(3 * count + i, "SaveImage", [], [], [f"%wide.i{i}%"]) for i in range(count)]
    instance = node(2 * count, "u", [], [], list(range(count)), title="wide")
    return ui([instance, *saves], [], definitions={"subgraphs": [definition]})


PROMPTS = [node(i, "SaveImage", [], [], [f"%N{i}.x%" * 3]) for i in range(COUNT)]
BOMB = [node(2, "SaveImage", [], [], ["%CLIPTextEncode.text%" * 5000])]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (reroutes("Reroute", 0), None),
        (reroutes("ImageInvert", 4), None),
        (doubling(16, "n"), "unfold to more"),
        (doubling(30, "n"), "unfold to more"),
        (doubling(16, "n" * 500), "ids grow"),
        (wide(COUNT), None),
        (broadcasts(), "broadcast"),
        (ring(COUNT, 1), "feed each other"),
        (ring(COUNT, 2), "feed each other"),
        (ui(PROMPTS, []), None),
        (ui([node(1, "CLIPTextEncode", [], [], ["x" * 100_000]), *BOMB], []), "replacements make"),
        (ui([node(1, "KSampler", [], [], ["x", 1] * 40_000)], []), "do not fit"),
        (ui([node(i, "KSampler", [], [], ["x", 1, "fixed"]) for i in range(COUNT)], []), "do not fit"),
        (ui([node(1, "ImageInvert")] * COUNT, []), None),
    ],
    ids=[
        "reroutes",
        "bypassed",
        "double",
        "deep",
        "ids",
        "wide",
        "broadcasts",
        "ring",
        "rings",
        "texts",
        "bomb",
        "values",
        "faults",
        "twins",
    ],
)
def test_time_is_bounded(file: Json, says: str | None) -> None:
    data = json.dumps(file).encode()
    assert "KSampler" in builtin()  # loading the schemas is not part of it
    began = time.process_time()
    if says is None:
        read_workflow(data)
    else:
        with pytest.raises(WorkflowError, match=says) as error:
            read_workflow(data)
        assert len(str(error.value)) < 1_000_000
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("text", ["/* " * 300_000, "{" * 300_000, "{a|" * 100_000 + "}" * 100_000, "{x" * 200_000])
def test_texts_take_linear_time(text: str) -> None:
    began = time.process_time()
    resolve(text, random.Random(1))
    assert time.process_time() - began < SECONDS


def test_the_values_of_a_wide_subgraph_reach_their_widgets() -> None:
    graph = read_workflow(json.dumps(wide(3)).encode())
    assert [node.inputs["width"] for node in graph if node.class_type == "EmptyImage"] == [0, 1, 2]
    assert [node.inputs["filename_prefix"] for node in graph if node.class_type == "SaveImage"] == ["0", "1", "2"]


def test_comments() -> None:
    assert without_comments("a /* b */ c // d\ne /f /* g") == "a  c \ne /f /* g"
    assert without_comments("/*/ a */b//") == "b"


def test_texts_of_a_picture_that_are_no_workflow_are_not_unpacked() -> None:
    bomb = zlib.compress(b"x" * 2**25)
    began = time.process_time()
    with pytest.raises(WorkflowError, match="no workflow"):
        read_workflow(png([(b"zTXt", b"k%d\0\0" % i + bomb) for i in range(2000)]))
    with pytest.raises(WorkflowError, match="unpacks to more"):
        read_workflow(png([(b"zTXt", b"prompt\0\0" + bomb)]))
    assert time.process_time() - began < SECONDS


def test_exif_entries_that_point_at_one_text_read_it_once() -> None:
    text = b"workflow:" + b"x" * 200_000
    began = time.process_time()
    with pytest.raises(WorkflowError):
        read_workflow(webp([(0x0110, text), *[(0x0111, b"other:" + b"y" * 1000)] * 2000]))
    assert time.process_time() - began < SECONDS


def test_ids_with_lone_surrogates() -> None:
    graph = read_workflow(json.dumps(ui([node("\ud800", "CLIPTextEncode", [], [], ["{a|b}"])], [])).encode())
    assert len(graph) == 1
