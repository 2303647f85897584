"""Real files: each gives a Graph or a list of problems, and UI -> API is what the front end made of it.

Equality of a pair is defined by `form`: the same ids (as text), for each the same class_type and the same inputs, where
a link is [id, slot] and a value equals a value as JSON does (1 and 1.0 are the same number, true is none). Left aside:
the order of keys, _meta, is_changed, inputs that no node of the server has, which front ends and extensions wrote
along (PSEUDO), and widgets that the class gained after the pair was made: today's front end sends their default.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from graphs.errors import Problem, WorkflowError
from graphs.graph import Graph
from graphs.reading.widget_default import default_of
from graphs.reading.widget_list import widgets_of
from graphs.schemas import builtin
from graphs.workflow import parse_api, parse_ui, read_workflow, to_api

Json = Any

CORPUS = Path(__file__).parents[2] / "../shared/reference/corpus"
PSEUDO = {"upload", "choose file to upload", "video-preview", "audioUI", "speak_and_recognation"}
# Pairs of built-in nodes whose two forms differ in a way that no rule explains: pair -> why. None so far.
DIFFERENT: dict[str, str] = {}
# Classes of other packs whose widgets changed between the files, so that the files do not give one schema.
CHANGED = {"IPAdapter", "KSampler (Efficient)"}

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"{CORPUS} is absent: real files are NOT tested")


def files() -> list[Path]:
    return sorted(CORPUS.glob("*/*.json"))


def pairs() -> list[str]:
    index = CORPUS / "GOLDEN_PAIRS.tsv"
    if not index.is_file():
        return []
    with index.open() as file:
        return [row["pair"] for row in csv.DictReader(file, delimiter="\t")]


def load(name: str) -> Json:
    return json.loads((CORPUS / name).read_text("utf-8"))


def form(api: Json) -> dict[str, tuple[str, dict[str, Json]]]:
    return {
        node_id: (entry["class_type"], {k: as_json(v) for k, v in entry["inputs"].items() if k not in PSEUDO})
        for node_id, entry in api.items()
        if isinstance(entry, dict) and "class_type" in entry
    }


def as_json(value: Json) -> Json:
    return ("boolean", value) if isinstance(value, bool) else value


def is_default(class_type: str, name: str, value: Json) -> bool:
    """Whether the schema of today gives a widget this value when a file holds none."""
    schema = builtin().lookup(class_type)
    widget = next((w for w in widgets_of(schema) if w.name == name), None) if schema else None
    return widget is not None and as_json(default_of(widget.input)) == value


def differences(theirs: Json, ours: Json) -> list[str]:
    found = []
    for node_id in dict.fromkeys([*theirs, *ours]):
        a, b = theirs.get(node_id), ours.get(node_id)
        if a is None or b is None or a[0] != b[0]:
            found.append(f"node {node_id}: {a and a[0]} became {b and b[0]}")
            continue
        for name in dict.fromkeys([*a[1], *b[1]]):
            if name not in a[1] and is_default(a[0], name, b[1][name]):
                continue
            if a[1].get(name, "nothing") != b[1].get(name, "nothing"):
                found.append(f"{node_id}.{name}: {a[1].get(name, 'nothing')!r} became {b[1].get(name, 'nothing')!r}")
    return found


@pytest.mark.parametrize("pair", pairs())
def test_conversion_is_what_the_front_end_made(pair: str) -> None:
    theirs = form(load(f"{pair}.api.json"))
    unknown = sorted({kind for kind, _ in theirs.values() if builtin().lookup(kind) is None})
    if unknown:
        with_schemas = builtin().with_object_info(observed(unknown))
        if not CHANGED.isdisjoint(unknown):
            pytest.skip(f"its schema is not known: {', '.join(sorted(CHANGED & set(unknown)))}")
        assert differences(theirs, form(to_api(parse_ui(load(f"{pair}.ui.json"), with_schemas)))) == []
        return
    found = differences(theirs, form(to_api(parse_ui(load(f"{pair}.ui.json")))))
    if pair in DIFFERENT:
        pytest.xfail(DIFFERENT[pair])
    assert found == []


def observed(classes: list[str]) -> Json:
    """Rough schemas of other packs' classes, from the inputs in API files: names in order, types of the values."""
    dump: dict[str, Json] = {kind: {"input": {"required": {}}, "output": []} for kind in classes}
    for path in files():
        api = load(str(path.relative_to(CORPUS)))
        for entry in api.values() if isinstance(api, dict) and "nodes" not in api else ():
            if isinstance(entry, dict) and entry.get("class_type") in dump:
                required = dump[entry["class_type"]]["input"]["required"]
                for name, value in entry.get("inputs", {}).items():
                    if not isinstance(value, list):
                        kind = {bool: "BOOLEAN", int: "INT", float: "FLOAT"}.get(type(value), "STRING")
                        if required.get(name, ["INT"])[0] == "INT":  # a whole number may be one of a FLOAT
                            required[name] = [kind, {}]
    return dump


def graph_or_problems(path: Path) -> Graph | tuple[Problem, ...]:
    try:
        return read_workflow(path)
    except WorkflowError as error:
        return error.problems


def test_every_file_reads_or_says_what_is_wrong() -> None:
    read = 0
    for path in files():
        graph = graph_or_problems(path)
        if not isinstance(graph, Graph):
            # What stops a real file is a class of another pack whose values nothing names.
            assert {p.type for p in graph} == {"missing_node_type"}, path
            assert all(p.message and p.node_id and p.class_type and p.hint for p in graph), path
            continue
        assert all(link.node in graph for node in graph for link in node.links.values()) or not graph.workflow
        read += 1
    assert read >= 460


def test_every_api_file_round_trips() -> None:
    count = 0
    for path in files():
        whole = load(str(path.relative_to(CORPUS)))
        if "nodes" in whole or not any(isinstance(v, dict) and "class_type" in v for v in whole.values()):
            continue
        once = to_api(parse_api(whole))
        assert form(once) == form(whole), path
        assert to_api(parse_api(once)) == once, path
        count += 1
    assert count >= 190
