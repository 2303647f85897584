"""Inputs whose names depend on the workflow, as V3 nodes declare them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graphs.definition import NodeDef
from graphs.dynamic_inputs import expanded
from graphs.node import Input
from graphs.object_info import node_def
from graphs.schemas import builtin

DUMP = Path(__file__).parents[2] / "../shared/reference/object_info_0.33.json"


def declared(kind: str, **options: Any) -> NodeDef:
    """A class with one input, `parts`, of that dynamic kind."""
    return node_def("Many", {"input": {"required": {"parts": [kind, options]}}, "output": ["IMAGE"]})


def inputs(node: NodeDef, **given: Any) -> list[tuple[str, str, bool]]:
    """name, type and whether it is required of each input; "__" in a keyword is the dot."""
    names = {name.replace("__", "."): value for name, value in given.items()}
    return [(i.name, i.type, i.required) for i in expanded(node.inputs, names)]


def autogrow(section: str = "required", **template: Any) -> NodeDef:
    return declared("COMFY_AUTOGROW_V3", template={"input": {section: {"image": ["IMAGE", {}]}}, **template})


def test_autogrow_has_the_members_that_are_given_in_the_order_of_their_numbers() -> None:
    node = autogrow(prefix="image", min=1, max=50)
    given = {"parts__image10": 1, "parts__image2": 1, "parts__image0": 1, "other": 1}
    assert inputs(node, **given) == [
        ("parts.image0", "IMAGE", True),
        ("parts.image2", "IMAGE", False),
        ("parts.image10", "IMAGE", False),
    ]


def test_autogrow_has_the_members_that_must_be_given() -> None:
    assert inputs(autogrow(prefix="image", min=2)) == [("parts.image0", "IMAGE", True), ("parts.image1", "IMAGE", True)]
    assert inputs(autogrow("optional", prefix="image", min=2)) == []


def test_autogrow_with_names_keeps_their_order() -> None:
    node = autogrow(names=["b", "a", "c"], min=1)
    assert [name for name, _, _ in inputs(node, parts__a=1, parts__c=1)] == ["parts.b", "parts.a", "parts.c"]


COMBO = declared(
    "COMFY_DYNAMICCOMBO_V3",
    options=[
        {"key": "size", "inputs": {"required": {"width": ["INT", {"default": 8}]}, "optional": {"mask": ["MASK", {}]}}},
        {"key": "none", "inputs": {}},
        {
            "key": "deep",
            "inputs": {"required": {"more": ["COMFY_AUTOGROW_V3", {"template": {"input": {}, "prefix": "x"}}]}},
        },
    ],
)


def test_a_dynamic_combo_has_the_members_of_its_choice() -> None:
    assert inputs(COMBO, parts="size") == [
        ("parts", "COMBO", True),
        ("parts.width", "INT", True),
        ("parts.mask", "MASK", False),
    ]
    assert inputs(COMBO, parts="none") == [("parts", "COMBO", True)]
    assert inputs(COMBO, parts="unheard of") == [("parts", "COMBO", True)]


def test_without_a_choice_a_dynamic_combo_has_its_first() -> None:
    choice, *members = expanded(COMBO.inputs, {})
    assert (choice.default, choice.options) == ("size", ("size", "none", "deep"))
    assert [m.name for m in members] == ["parts.width", "parts.mask"]


def test_dynamic_inputs_in_dynamic_inputs() -> None:
    given = {"parts": "deep", "parts__more__x1": 1, "parts__more__x0": 1}
    assert inputs(COMBO, **given)[1:] == [("parts.more.x0", "*", False), ("parts.more.x1", "*", False)]


def test_a_dynamic_group_has_its_rows() -> None:
    template = {"required": {"name": ["STRING", {}]}, "optional": {"strength": ["FLOAT", {"default": 1.0}]}}
    node = declared("COMFY_DYNAMICGROUP_V3", template=template)
    assert inputs(node, parts__10__name="b", parts__9__name="a", parts__9__strength=0.5) == [
        ("parts.9.name", "STRING", True),
        ("parts.9.strength", "FLOAT", False),
        ("parts.10.name", "STRING", True),
        ("parts.10.strength", "FLOAT", False),
    ]


@pytest.mark.parametrize("damaged", [{}, {"template": 3}, {"options": 3}, {"template": {"input": {}, "min": None}}])
def test_a_damaged_template_has_no_members(damaged: dict[str, Any]) -> None:
    for kind in ("AUTOGROW", "DYNAMICCOMBO", "DYNAMICGROUP"):
        node = declared(f"COMFY_{kind}_V3", **damaged)
        assert [i.type for i in expanded(node.inputs, {})] in ([], ["COMBO"])


def test_every_dynamic_input_of_a_server_expands() -> None:
    if not DUMP.is_file():
        pytest.skip(f"{DUMP} is absent")
    schemas = [node_def(name, entry) for name, entry in json.loads(DUMP.read_text()).items()]
    dynamic = [s for s in schemas if any(i.type in KINDS for i in s.inputs)]
    assert len(dynamic) > 30
    for schema in dynamic:
        for declared_input in schema.inputs:
            for choice in declared_input.extra.get("options") or [{"key": None}]:
                key = choice.get("key") if isinstance(choice, dict) else choice
                members = list(expanded((declared_input,), {declared_input.name: key, f"{declared_input.name}.a": 1}))
                assert all(isinstance(m, Input) and m.type not in KINDS for m in members)


KINDS = ("COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICGROUP_V3")


def test_shipped_schemas_hold_dynamic_inputs() -> None:
    node = builtin()["BatchImagesNode"]
    names = [i.name for i in expanded(node.inputs, {"images.image1": 1, "images.image0": 1})]
    assert names == ["images.image0", "images.image1"]
