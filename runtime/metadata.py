"""The workflow that a picture carries: the plan's, with the values of the run, so that opening it makes it again."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from graphs.definition import NodeDef
from graphs.errors import PlanError
from graphs.node import CONTROL_WORDS
from graphs.nodes.packs import node_table

log = logging.getLogger(__name__)

Json = Any


def updated_prompt(prompt: Mapping[str, Json], changed: Mapping[str, Json]) -> dict[str, Json]:
    """The API form with the changed parameters ("NODE.INPUT") in place: what ComfyUI would have been sent."""
    if not changed:
        return dict(prompt)
    updated = copy.deepcopy(dict(prompt))
    for name, value in changed.items():
        node, input_name = _node_of(prompt, name)
        updated[node].setdefault("inputs", {})[input_name] = value
    return updated


def updated_workflow(
    workflow: Mapping[str, Json] | None, prompt: Mapping[str, Json], changed: Mapping[str, Json]
) -> dict[str, Json] | None:
    """The UI form with the changed values in the widgets. prompt: the unchanged API form, to find each widget by.

    None where some widget cannot be found for certain (subgraphs, values that the browser computes): no workflow is
    better than one that makes another picture, and the prompt is always right.
    """
    if workflow is None or not changed:
        return None if workflow is None else dict(workflow)
    updated = copy.deepcopy(dict(workflow))
    nodes = {str(node.get("id")): node for node in updated.get("nodes", []) if isinstance(node, dict)}
    for name, value in changed.items():
        node_id, input_name = _node_of(prompt, name)
        old = prompt[node_id].get("inputs", {}).get(input_name)
        definition = node_table().get(prompt[node_id]["class_type"])
        node = nodes.get(node_id)
        if node is None or definition is None or not _set_widget(node, definition, input_name, old, value):
            log.info("the picture carries no UI workflow: the widget of %s is not certain", name)
            return None
    return updated


def _node_of(prompt: Mapping[str, Json], name: str) -> tuple[str, str]:
    """The node and the input of "NODE.INPUT"; either may have dots of its own. Raises PlanError."""
    splits = [(name[:i], name[i + 1 :]) for i, character in enumerate(name) if character == "."]
    known = [(node, input_name) for node, input_name in splits if node in prompt]
    for node, input_name in known:
        if input_name in prompt[node].get("inputs", {}):
            return node, input_name
    if not known:
        raise PlanError(f"parameter {name} belongs to no node of the plan's prompt", hint="compile the workflow again")
    return known[-1]


def _set_widget(node: dict[str, Json], definition: NodeDef, name: str, old: Json, value: Json) -> bool:
    """Puts the value where the old one stands; False where it does not stand there."""
    if node.get("type") != definition.class_type or "widgets_values_named" in node:
        return False
    for entry in node.get("inputs") or []:
        widget = entry.get("widget") if isinstance(entry, dict) else None
        if isinstance(widget, dict) and widget.get("name") == name and entry.get("link") is not None:
            return False  # a PrimitiveNode has the value
    values: Json = node.get("widgets_values")
    place: Json = name if isinstance(values, dict) else _place(values, definition, name)
    try:
        if place is None or values[place] != old:
            return False
    except (IndexError, KeyError, TypeError):
        return False
    values[place] = value
    return True


def _place(values: Json, definition: NodeDef, name: str) -> int | None:
    """Which of widgets_values is the input's: widgets in the schema's order, a seed's control word after it."""
    if not isinstance(values, list):
        return None
    place = 0
    for declared in definition.inputs:
        if not declared.is_widget or declared.hidden:
            continue
        if declared.name == name:
            return place
        place += 1
        if declared.control_after_generate and place < len(values):
            following = values[place]
            place += isinstance(following, bool) or (isinstance(following, str) and following in CONTROL_WORDS)
    return None
