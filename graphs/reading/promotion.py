"""Promoted widgets: which values a subgraph instance holds for the widgets of the nodes inside.

Three generations of files: values along proxyWidgets, whose entries name an inner node and widget ("-1": an input of
the instance); without proxyWidgets, values along those inputs of the definition that feed a widget;
widgets_values_named. A hole (null, []) leaves the inner node's own value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphs.node import CONTROL_WORDS
from graphs.reading.findings import Findings
from graphs.reading.ui_graph import INPUT_NODE, Definition, Document, UiInput, UiLink, UiNode

Json = Any

# Entries of proxyWidgets that are no values: previews ("$$canvas-image-preview") and the seed's after-run control.
_NO_VALUES = ("control_after_generate", "control_filter_list")


@dataclass(slots=True)
class Promoted:
    """given: definition input slot -> value. overrides: inner node id -> widget -> value, where no input feeds it."""

    given: dict[int, Json] = field(default_factory=dict)
    overrides: dict[str, dict[str, Json]] = field(default_factory=dict)


def promoted(definition: Definition, instance: UiNode, slots: frozenset[int], findings: Findings) -> Promoted:
    """The values that an instance holds. slots: the definition's inputs that feed a widget."""
    names = [name for name, _ in definition.inputs]
    slot_of: dict[str, int] = {}
    for slot, name in enumerate(names):
        slot_of.setdefault(name, slot)
    found = Promoted()
    if not instance.proxies:
        found.given.update(_along_inputs(definition, instance, sorted(slots), findings))
    for name, value in (instance.named or {}).items():
        if slot_of.get(name) in slots and not _is_hole(value):
            found.given[slot_of[name]] = value
    feeders = {(node.id, slot.widget or slot.name): link.slot for node, slot, link in fed_inputs(definition)}
    for inner, widget, value in _proxy_values(instance):
        feeder = slot_of.get(widget) if inner == "-1" else feeders.get((inner, widget))
        if feeder is not None:
            found.given[feeder] = value
        elif inner in definition.graph.nodes:
            found.overrides.setdefault(inner, {})[widget] = value
    for name, value in instance.overrides.items():
        if name in slot_of:
            found.given[slot_of[name]] = value
    return found


def _along_inputs(
    definition: Definition, instance: UiNode, targets: list[int], findings: Findings
) -> Mapping[int, Json]:
    """Values of a list without proxyWidgets: the definition's inputs that feed widgets, in its order."""
    values = instance.values if isinstance(instance.values, list) else []
    if len(values) > len(targets):
        values = [v for v in values if not (isinstance(v, str) and v in CONTROL_WORDS)]
    if len(values) > len(targets) and targets:
        names = ", ".join(definition.inputs[slot][0] for slot in targets)
        findings.warn(
            "widgets_left",
            f"{len(values) - len(targets)} values of subgraph {definition.name!r} belong to none of {names[:200]}",
            node_id=instance.id,
            class_type=definition.name,
        )
    return {slot: value for slot, value in zip(targets, values, strict=False) if not _is_hole(value)}


def _proxy_values(instance: UiNode) -> Iterator[tuple[str, str, Json]]:
    """(inner node id, widget, value) along proxyWidgets; what an instance around it sets wins."""
    values = instance.values if isinstance(instance.values, list) else []
    for i, (inner, widget) in enumerate(instance.proxies or ()):
        if widget.startswith("$$") or widget in _NO_VALUES:
            continue
        if widget in instance.overrides:
            yield inner, widget, instance.overrides[widget]
        elif i < len(values) and not _is_hole(values[i]):
            yield inner, widget, values[i]


def _is_hole(value: Json) -> bool:
    return value is None or value == []


def fed_inputs(definition: Definition) -> Iterator[tuple[UiNode, UiInput, UiLink]]:
    """(inner node, its input, link) of what the definition's inputs feed, in the order of the links."""
    links = definition.graph.links
    order = {id: k for ids in definition.links_of.values() for k, id in enumerate(ids)}
    found: list[tuple[int, UiNode, UiInput, UiLink]] = []
    for node in definition.graph.nodes.values():
        for slot in node.inputs:
            link = links.get(slot.link) if slot.link is not None else None
            if link is not None and link.origin == INPUT_NODE:
                found.append((order.get(slot.link or "", len(order)), node, slot, link))
    for _, node, slot, link in sorted(found, key=lambda f: f[0]):
        yield node, slot, link


def widget_slots(document: Document) -> dict[str, frozenset[int]]:
    """By definition, its input slots that feed a widget, directly or in instances inside it.

    From the widgets outwards, so that each link of the document is looked at once.
    """
    feeders: dict[tuple[str, str], list[tuple[str, int]]] = {}  # (definition, input name) -> slots that feed it
    found: set[tuple[str, int]] = set()
    pending: list[tuple[str, int]] = []
    for definition in document.definitions.values():
        for node, slot, link in fed_inputs(definition):
            place = (definition.id, link.slot)
            if node.type in document.definitions:
                feeders.setdefault((node.type, slot.name), []).append(place)
            elif slot.widget is not None and place not in found:
                found.add(place)
                pending.append(place)
    while pending:
        id, index = pending.pop()
        inputs = document.definitions[id].inputs
        name = inputs[index][0] if index < len(inputs) else ""
        for place in feeders.get((id, name), ()):
            if place not in found:
                found.add(place)
                pending.append(place)
    return {
        id: frozenset(s for s in range(len(definition.inputs)) if (id, s) in found)
        for id, definition in document.definitions.items()
    }
