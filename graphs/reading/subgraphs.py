"""Subgraph instances -> their inside, any depth. Ids become "INSTANCE:INNER".

A muted or bypassed instance stays one node, so that link resolution treats it like any other. An active one vanishes:
links through its two ends are noted in Flat.through, the values of its promoted widgets in Flat.given, where they reach
everything that the input feeds, or as overrides of the inner nodes whose widgets no input feeds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphs.reading.api_format import MAX_ID
from graphs.reading.findings import Findings
from graphs.reading.promotion import Promoted, fed_inputs, promoted, widget_slots
from graphs.reading.ui_graph import (
    INPUT_NODE,
    OUTPUT_NODE,
    Definition,
    Document,
    Fed,
    Flat,
    UiGraph,
    UiInput,
    UiLink,
    UiNode,
)

Json = Any

MAX_NESTING = 32
MAX_UNFOLDED = 50_000  # nodes that subgraphs add; a file of a few kilobytes can ask for billions


def flatten(document: Document, findings: Findings) -> Flat:
    """The document's graph with every active subgraph instance replaced by its inside."""
    flat = Flat()
    slots = widget_slots(document)
    places = {id: _places(definition) for id, definition in document.definitions.items()}
    limit = MAX_UNFOLDED + len(document.graph.nodes)
    unfolded = 0
    # (graph, prefix of its ids, the instance that it is the inside of, definitions around it)
    pending: deque[tuple[UiGraph, str, UiNode | None, tuple[str, ...]]] = deque([(document.graph, "", None, ())])
    while pending:
        graph, prefix, instance, around = pending.popleft()
        unfolded += len(graph.nodes) + 1
        if unfolded > limit:
            findings.problem("too_large", f"the subgraphs unfold to more than {MAX_UNFOLDED} nodes")
            break
        inside = Promoted()
        if instance is not None:
            definition = document.definitions[instance.type]
            inside = promoted(definition, instance, slots[definition.id], findings)
            _open_input_end(flat, document, definition, instance, inside, places)
        for link_id, link in graph.links.items():
            flat.graph.links[prefix + link_id] = UiLink(
                prefix + link.origin, link.slot, prefix + link.target, link.target_slot, link.type
            )
        for node in graph.nodes.values():
            inner = _prefixed(node, prefix)
            inner.overrides.update(inside.overrides.get(node.id, {}))
            nested = document.definitions.get(node.type)
            if len(inner.id) > MAX_ID:
                findings.problem(
                    "bad_node_id", f"nested ids grow to more than {MAX_ID} characters", node_id=inner.id[:60]
                )
            elif nested is None or not node.active:
                flat.graph.nodes[inner.id] = inner
            elif nested.id in around or len(around) >= MAX_NESTING:
                findings.problem(
                    "subgraph_loop",
                    f"subgraph {nested.name!r} contains itself" if nested.id in around else "subgraphs nest too deep",
                    node_id=inner.id,
                    class_type=nested.name,
                )
            else:
                findings.dissolve(inner.id, nested.name, f"subgraph: unfolded into {len(nested.graph.nodes)} nodes")
                _open_output_end(flat, nested, inner)
                pending.append((nested.graph, f"{inner.id}:", inner, (*around, nested.id)))
    return flat


def _prefixed(node: UiNode, prefix: str) -> UiNode:
    inputs = [replace(i, link=prefix + i.link if i.link is not None else None) for i in node.inputs]
    return replace(node, id=prefix + node.id, inputs=inputs, overrides=dict(node.overrides))


def _places(definition: Definition) -> dict[str, int]:
    """Input name -> slot, the first of equal names."""
    return {name: slot for slot, (name, _) in reversed(list(enumerate(definition.inputs)))}


def _open_input_end(
    flat: Flat,
    document: Document,
    definition: Definition,
    instance: UiNode,
    inside: Promoted,
    places: Mapping[str, Mapping[str, int]],
) -> None:
    """Links that start at the definition's input end continue at the link of the instance's input of that name."""
    start = f"{instance.id}:{INPUT_NODE}"
    for slot, bound in enumerate(bind_by_name([name for name, _ in definition.inputs], instance.inputs)):
        flat.through[(start, slot)] = bound.link if bound else None
        if slot in inside.given:
            flat.given[(start, slot)] = inside.given[slot]
    for node, slot_of_node, link in fed_inputs(definition):
        inner = f"{instance.id}:{node.id}"
        if node.type in document.definitions and node.active:
            place = places[node.type].get(slot_of_node.name)
            if place is not None:
                end = (f"{inner}:{INPUT_NODE}", place)
                flat.fed.setdefault((start, link.slot), []).append(Fed(inner, slot_of_node.name, end))
        elif slot_of_node.widget is not None:
            flat.fed.setdefault((start, link.slot), []).append(Fed(inner, slot_of_node.widget))


def _open_output_end(flat: Flat, definition: Definition, instance: UiNode) -> None:
    """Links that start at the instance continue at the link that ends in the definition's output of that slot."""
    prefix = f"{instance.id}:"
    ends: dict[int, str] = {}
    for id, link in definition.graph.links.items():
        if link.target == OUTPUT_NODE:
            ends.setdefault(link.target_slot, id)
    for slot in range(len(definition.outputs)):
        flat.through[(instance.id, slot)] = prefix + ends[slot] if slot in ends else None


def bind_by_name(names: list[str], slots: list[UiInput]) -> list[UiInput | None]:
    """For each name the slot of that name; of several equal names, the first takes the first slot, and so on."""
    free: dict[str, list[UiInput]] = {}
    for slot in reversed(slots):
        free.setdefault(slot.name, []).append(slot)
    return [free[name].pop() if free.get(name) else None for name in names]
