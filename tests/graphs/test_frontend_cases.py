"""Conversion equals what ComfyUI's front end 1.58.1 made of the same files.

frontend_1_58_1.json holds small files of ours, written to show one rule each, with what that front end sent for them;
its `classes` are made up for the widgets that no built-in class has. The cases of ../shared are of the same kind; where
the front end is at fault we differ on purpose (docs/conversion.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graphs.errors import WorkflowError
from graphs.schemas import builtin
from graphs.workflow import parse_ui, to_api

Json = Any

RECORDED = json.loads(Path(__file__).with_name("frontend_1_58_1.json").read_text("utf-8"))
SHARED = Path(__file__).parents[2] / "../shared/reference/cases/convert"
# Case -> why we do not send what the front end sends.
DELIBERATE = {
    "dynamic_combo_unknown_key": "the front end shifts every later value; we refuse and name the node",
    "group_node_two": "ids inside group nodes stay INSTANCE:INDEX, as older front ends wrote them",
    "promoted_null_minus_one": "the front end sends null, which a server refuses; we send the inner value",
}


def form(api: Json) -> dict[str, tuple[str, Json]]:
    return {node_id: (node["class_type"], node["inputs"]) for node_id, node in api.items()}


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: case["name"])
def test_recorded(case: Json) -> None:
    schemas = builtin().with_object_info(RECORDED["classes"])
    assert form(to_api(parse_ui(case["ui"], schemas))) == form(case["api"])


def shared_cases() -> list[str]:
    return sorted(path.name.removesuffix(".ui.json") for path in SHARED.glob("*.ui.json"))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is absent: its cases are NOT tested")
def test_there_are_shared_cases() -> None:
    assert len(shared_cases()) >= 37
    assert DELIBERATE.keys() <= set(shared_cases())


@pytest.mark.parametrize("name", shared_cases())
def test_shared(name: str) -> None:
    schemas = builtin()
    dump = SHARED / f"{name}.object_info.json"
    if dump.is_file():
        schemas = schemas.with_object_info(json.loads(dump.read_text("utf-8")))
    ui = json.loads((SHARED / f"{name}.ui.json").read_text("utf-8"))
    expected = form(json.loads((SHARED / f"{name}.expected.api.json").read_text("utf-8")))
    try:
        converted = form(to_api(parse_ui(ui, schemas)))
    except WorkflowError:
        assert name in DELIBERATE
        return
    assert (converted != expected) == (name in DELIBERATE)
