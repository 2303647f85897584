"""The workflow in a picture says what made it, in both forms, or says nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from graphs.errors import PlanError
from runtime.metadata import updated_prompt, updated_workflow

PROMPT: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {"seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0},
    },
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "fox", "clip": ["4", 1]}},
    "57:8": {"class_type": "CLIPTextEncode", "inputs": {"text": "sub", "clip": ["4", 1]}},
}
SAMPLER = {"id": 3, "type": "KSampler", "widgets_values": [5, "randomize", 20, 8.0, "euler", "normal", 1.0]}
TEXT = {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["fox"]}


def ui(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": [copy.deepcopy(n) for n in nodes], "version": 0.4}


def test_nothing_changed_is_left_as_it_is() -> None:
    assert updated_prompt(PROMPT, {}) == PROMPT
    assert updated_workflow(ui(SAMPLER), PROMPT, {}) == ui(SAMPLER)
    assert updated_workflow(None, PROMPT, {"3.seed": 1}) is None


def test_both_forms_take_the_new_values_and_the_plans_own_stay() -> None:
    before, workflow = copy.deepcopy(PROMPT), ui(SAMPLER, TEXT)
    changed = {"3.seed": 9, "3.denoise": 0.5, "6.text": "wolf"}
    prompt = updated_prompt(PROMPT, changed)
    assert (prompt["3"]["inputs"]["seed"], prompt["3"]["inputs"]["denoise"]) == (9, 0.5)
    assert prompt["6"]["inputs"] == {"text": "wolf", "clip": ["4", 1]}
    updated = updated_workflow(workflow, PROMPT, changed)
    assert updated is not None
    assert updated["nodes"][0]["widgets_values"] == [9, "randomize", 20, 8.0, "euler", "normal", 0.5]
    assert updated["nodes"][1]["widgets_values"] == ["wolf"]
    assert before == PROMPT
    assert workflow == ui(SAMPLER, TEXT)


@pytest.mark.parametrize(
    ("values", "after"),
    [
        ([5, True, 20, 8.0, "euler", "normal", 1.0], [5, True, 30, 8.0, "euler", "normal", 1.0]),  # of early 2023
        ([5, 20, 8.0, "euler", "normal", 1.0], [5, 30, 8.0, "euler", "normal", 1.0]),
        ({"seed": 5, "steps": 20, "cfg": 8.0}, {"seed": 5, "steps": 30, "cfg": 8.0}),
    ],
)
def test_other_layouts_of_widgets(values: Any, after: Any) -> None:
    updated = updated_workflow(ui({**SAMPLER, "widgets_values": values}), PROMPT, {"3.steps": 30})
    assert updated is not None
    assert updated["nodes"][0]["widgets_values"] == after


@pytest.mark.parametrize(
    "node",
    [
        {**SAMPLER, "widgets_values": [6, "randomize", 21, 8.0, "euler", "normal", 1.0]},  # another value stands there
        {**SAMPLER, "widgets_values": [5]},
        {**SAMPLER, "widgets_values": None},
        {**SAMPLER, "inputs": [{"name": "steps", "widget": {"name": "steps"}, "link": 12}]},  # a PrimitiveNode's
        {**SAMPLER, "type": "Other"},
        {**SAMPLER, "id": 33},
        {**SAMPLER, "widgets_values_named": {"steps": 20}},
    ],
)
def test_an_uncertain_widget_leaves_the_ui_form_out(node: dict[str, Any]) -> None:
    assert updated_workflow(ui(node), PROMPT, {"3.steps": 30}) is None


def test_subgraphs_have_no_widget_of_their_own() -> None:
    assert updated_workflow(ui(SAMPLER, TEXT), PROMPT, {"57:8.text": "x"}) is None
    assert updated_prompt(PROMPT, {"57:8.text": "x"})["57:8"]["inputs"]["text"] == "x"


def test_inputs_that_the_prompt_left_out_are_added() -> None:
    assert updated_prompt(PROMPT, {"3.extra": 1})["3"]["inputs"]["extra"] == 1
    with pytest.raises(PlanError, match=r"parameter 99\.x belongs to no node"):
        updated_prompt(PROMPT, {"99.x": 1})
