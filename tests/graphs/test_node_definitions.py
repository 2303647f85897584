"""Every NodeDef states the schema that a real server gives, as recorded in object_info.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graphs.definition import NodeDef
from graphs.node import COMBO, Input
from graphs.nodes import NODES

DUMP = Path(__file__).parents[2] / "../shared/reference/object_info.json"
FOLDER_FILES = {"checkpoints", "vae", "loras", "controlnet", "input", "text_encoders", "diffusion_models"}
# Options of an input as the dump names them -> as Input does.
OPTIONS = {"default": "default", "min": "min", "max": "max", "step": "step", "round": "round", "multiline": "multiline",
           "dynamicPrompts": "dynamic_prompts", "control_after_generate": "control_after_generate"}  # fmt: skip


@pytest.fixture(scope="module")
def dump() -> dict[str, Any]:
    if not DUMP.is_file():
        pytest.skip(f"{DUMP} is absent: schemas are not compared with a server's")
    loaded: dict[str, Any] = json.loads(DUMP.read_text())
    return loaded


@pytest.mark.parametrize("definition", NODES.values(), ids=NODES.keys())
def test_schema_is_the_servers(definition: NodeDef, dump: dict[str, Any]) -> None:
    entry = dump[definition.class_type]
    assert (definition.display_name or definition.class_type) == (entry["display_name"] or definition.class_type)
    assert definition.category == entry["category"]
    assert definition.output_node == entry["output_node"]
    assert [o.type for o in definition.outputs] == entry["output"]
    assert [o.name for o in definition.outputs] == entry["output_name"]
    assert [o.is_list for o in definition.outputs] == entry["output_is_list"]
    sections = {"required": [], "optional": [], "hidden": []} | entry["input_order"]
    required = [i.name for i in definition.inputs if i.required and not i.hidden]
    assert required == sections["required"]
    assert [i.name for i in definition.inputs if not i.required and not i.hidden] == sections["optional"]
    assert sorted(i.name for i in definition.inputs if i.hidden) == sorted(sections["hidden"])
    for declared in definition.inputs:
        section = "hidden" if declared.hidden else "required" if declared.required else "optional"
        _compare(declared, entry["input"][section][declared.name])


def _compare(declared: Input, spec: Any) -> None:
    if declared.hidden:
        assert declared.type == spec
        return
    kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
    if isinstance(kind, list):
        assert declared.type == COMBO
        if declared.folder is None:
            assert list(declared.options or ()) == kind
        else:
            assert declared.folder in FOLDER_FILES
            assert set(declared.options or ()) <= {"pixel_space"}  # a choice that is no file
    else:
        assert declared.type == kind
    assert (declared.upload == "image") == options.get("image_upload", False)
    for theirs, ours in OPTIONS.items():
        assert (getattr(declared, ours) or None) == (options.get(theirs) or None), theirs
    assert set(options) <= {*OPTIONS, "image_upload", "advanced"}


def test_the_table_is_keyed_by_class_type() -> None:
    assert all(name == definition.class_type for name, definition in NODES.items())
    assert all(definition.lower is not None for definition in NODES.values())
