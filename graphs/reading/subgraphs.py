"""Subgraph instances -> their inside, any depth. Ids become "INSTANCE:INNER".

A muted or bypassed instance stays one node, so that link resolution treats it like any other. An active one vanishes:
links through its two ends are noted in Flat.through, values of promoted widgets become overrides of inner nodes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from graphs.reading.api_format import MAX_ID
from graphs.reading.findings import Findings
from graphs.reading.ui_format import MAX_NODES
from graphs.reading.ui_graph import (
    INPUT_NODE,
    OUTPUT_NODE,
    Definition,
    Document,
    Flat,
    UiGraph,
    UiInput,
    UiLink,
    UiNode,
)

Json = Any

MAX_NESTING = 32
# Entries of proxyWidgets that are no values: previews ("$$canvas-image-preview") and the seed's after-run control.
_NO_VALUES = ("control_after_generate", "control_filter_list")


def flatten(document: Document, findings: Findings) -> Flat:
    """The document's graph with every active subgraph instance replaced by its inside."""
    flat = Flat()
    widget_slots: dict[str, frozenset[int]] = {}
    unfolded = 0
    # (graph, prefix of its ids, the instance that it is the inside of, definitions around it)
    pending: deque[tuple[UiGraph, str, UiNode | None, tuple[str, ...]]] = deque([(document.graph, "", None, ())])
    while pending:
        graph, prefix, instance, around = pending.popleft()
        unfolded += len(graph.nodes)
        if unfolded > MAX_NODES:
            findings.problem("too_large", f"the subgraphs unfold to more than {MAX_NODES} nodes")
            break
        promoted: dict[str, dict[str, Json]] = {}
        if instance is not None:
            definition = document.definitions[instance.type]
            _open_input_end(flat, definition, instance, prefix)
            slots = _widget_slots(definition, document, widget_slots, len(around))
            promoted = _promoted(definition, instance, slots, flat, findings)
        for link_id, link in graph.links.items():
            flat.graph.links[prefix + link_id] = UiLink(
                prefix + link.origin, link.slot, prefix + link.target, link.target_slot, link.type
            )
        for node in graph.nodes.values():
            inner = _prefixed(node, prefix)
            inner.overrides.update(promoted.get(node.id, {}))
            nested = document.definitions.get(node.type)
            if nested is None or not node.active:
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


def _open_input_end(flat: Flat, definition: Definition, instance: UiNode, prefix: str) -> None:
    """Links that start at the definition's input end continue at the link of the instance's input of that name."""
    for slot, bound in enumerate(bind_by_name([name for name, _ in definition.inputs], instance.inputs)):
        flat.through[(prefix + INPUT_NODE, slot)] = bound.link if bound else None


def _open_output_end(flat: Flat, definition: Definition, instance: UiNode) -> None:
    """Links that start at the instance continue at the link that ends in the definition's output of that slot."""
    prefix = f"{instance.id}:"
    ends = {link.target_slot: id for id, link in definition.graph.links.items() if link.target == OUTPUT_NODE}
    names = [name for name, _ in definition.outputs]
    for slot, name in enumerate(name for name, _ in instance.outputs or definition.outputs):
        # After edits an instance may list its outputs in another order than the definition: the name decides.
        index = slot if slot < len(names) and names[slot] == name else _index(names, name, slot)
        flat.through[(instance.id, slot)] = prefix + ends[index] if index in ends else None


def _index(names: list[str], name: str, slot: int) -> int:
    return names.index(name) if name in names else slot


def bind_by_name(names: list[str], slots: list[UiInput]) -> list[UiInput | None]:
    """For each name the slot of that name; of several equal names, the first takes the first slot, and so on."""
    free: dict[str, list[UiInput]] = {}
    for slot in reversed(slots):
        free.setdefault(slot.name, []).append(slot)
    return [free[name].pop() if free.get(name) else None for name in names]


def _promoted(
    definition: Definition, instance: UiNode, slots: frozenset[int], flat: Flat, findings: Findings
) -> dict[str, dict[str, Json]]:
    """Inner node id -> widget name -> value, for the widgets that the instance shows and sets itself."""
    found: dict[str, dict[str, Json]] = {}
    bound = bind_by_name([name for name, _ in definition.inputs], instance.inputs)
    given = _given_values(definition, instance, slots, findings)
    for inner, widget, value in _proxy_values(instance):
        found.setdefault(inner, {})[widget] = value
    for node_id, slot, widget in _fed_inputs(definition):
        end = bound[slot] if slot < len(bound) else None
        if slot in given and (end is None or _is_open(flat, end.link)):  # a link wins over the value
            found.setdefault(node_id, {})[widget] = given[slot]
    return found


def _is_open(flat: Flat, key: str | None) -> bool:
    """Whether a link ends at the open input of an instance around it, as if there were none."""
    visited: set[str] = set()
    while key is not None and key not in visited:
        visited.add(key)
        link = flat.graph.links.get(key)
        end = (link.origin, link.slot) if link else None
        if end is None or end not in flat.through:
            return False
        key = flat.through[end]
    return key is None


def _fed_inputs(definition: Definition) -> Iterator[tuple[str, int, str]]:
    """(inner node id, definition input slot, widget or input name) of the inner inputs that the definition feeds."""
    for node in definition.graph.nodes.values():
        for slot in node.inputs:
            link = definition.graph.links.get(slot.link) if slot.link is not None else None
            if link is not None and link.origin == INPUT_NODE:
                yield node.id, link.slot, slot.widget or slot.name


def _widget_slots(
    definition: Definition, document: Document, known: dict[str, frozenset[int]], depth: int
) -> frozenset[int]:
    """The input slots of a definition that feed a widget, directly or in instances inside it.

    known: results so far, by definition id; also what stops definitions that contain themselves.
    """
    if definition.id not in known:
        known[definition.id] = frozenset()
        slots: set[int] = set()
        for node in definition.graph.nodes.values():
            nested = document.definitions.get(node.type)
            inside: frozenset[str] = frozenset()
            if nested is not None and depth < MAX_NESTING:
                inner = _widget_slots(nested, document, known, depth + 1)
                inside = frozenset(nested.inputs[k][0] for k in inner)
            for slot in node.inputs:
                link = definition.graph.links.get(slot.link) if slot.link is not None else None
                if link is not None and link.origin == INPUT_NODE and (slot.widget is not None or slot.name in inside):
                    slots.add(link.slot)
        known[definition.id] = frozenset(k for k in slots if k < len(definition.inputs))
    return known[definition.id]


def _given_values(
    definition: Definition, instance: UiNode, slots: frozenset[int], findings: Findings
) -> dict[int, Json]:
    """Definition input slot -> the value that the instance holds for it; later generations win."""
    names = [name for name, _ in definition.inputs]
    given: dict[int, Json] = {}
    targets = sorted(slots)
    values = instance.values
    if "proxyWidgets" not in instance.properties and isinstance(values, list) and values:
        if len(values) == len(targets):
            given.update(zip(targets, values, strict=True))
        elif not instance.named:
            findings.problem(
                "ambiguous_widgets",
                f"the values of subgraph {definition.name!r} cannot be told apart",
                node_id=instance.id,
                class_type=definition.name,
                expected=f"{len(targets)} values ({', '.join(names[slot] for slot in targets)[:200]})",
                got=f"{len(values)} values",
                hint="open and save the workflow in ComfyUI",
            )
    for source in (instance.named or {}, _own_proxies(instance), instance.overrides):
        given.update({slot: source[names[slot]] for slot in targets if names[slot] in source})
    return given


def _own_proxies(instance: UiNode) -> dict[str, Json]:
    """Input name -> value from proxyWidgets entries ["-1", input name]."""
    return {widget: value for inner, widget, value in _proxies(instance) if inner == "-1"}


def _proxy_values(instance: UiNode) -> Iterator[tuple[str, str, Json]]:
    """(inner node id, widget name, value) from proxyWidgets entries [inner id, widget name]."""
    for inner, widget, value in _proxies(instance):
        if inner != "-1":
            yield inner, widget, value


def _proxies(instance: UiNode) -> Iterator[tuple[str, str, Json]]:
    """proxyWidgets with their values; an entry without one is left out, for there the inner node's own holds."""
    entries = instance.properties.get("proxyWidgets")
    values = instance.values if isinstance(instance.values, list) else []
    for i, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, list) or len(entry) < 2 or not isinstance(entry[1], str):
            continue
        inner, widget = str(entry[0])[:MAX_ID], _PREFIX.sub("", entry[1])
        if widget.startswith("$$") or widget in _NO_VALUES:
            continue
        if widget in instance.overrides:
            yield inner, widget, instance.overrides[widget]
        elif i < len(values) and values[i] is not None and values[i] != []:
            yield inner, widget, values[i]


_PREFIX = re.compile(r"^-?\d+: ")  # older front ends wrote "12: seed"
