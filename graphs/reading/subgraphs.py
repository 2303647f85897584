"""Subgraph instances -> their inside, any depth. Ids become "INSTANCE:INNER".

A muted or bypassed instance stays one node, so that link resolution treats it like any other. An active one vanishes:
links through its two ends are noted in Flat.through, values of promoted widgets become overrides of inner nodes.
"""

from __future__ import annotations

import re
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
    # (graph, prefix of its ids, the instance that it is the inside of, definitions around it)
    pending: list[tuple[UiGraph, str, UiNode | None, tuple[str, ...]]] = [(document.graph, "", None, ())]
    while pending:
        graph, prefix, instance, around = pending.pop(0)
        if len(flat.graph.nodes) + len(graph.nodes) > MAX_NODES:
            findings.problem("too_large", f"the subgraphs unfold to more than {MAX_NODES} nodes")
            break
        definition = document.definitions[instance.type] if instance else None
        if definition and instance:
            _open_input_end(flat, definition, instance, prefix)
        promoted = _promoted(definition, instance, document, findings) if definition and instance else {}
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
    definition: Definition, instance: UiNode, document: Document, findings: Findings
) -> dict[str, dict[str, Json]]:
    """Inner node id -> widget name -> value, for the widgets that the instance shows and sets itself."""
    found: dict[str, dict[str, Json]] = {}
    bound = bind_by_name([name for name, _ in definition.inputs], instance.inputs)
    targets = _input_targets(definition, document)
    given = _given_values(definition, instance, targets, findings)
    for inner, widget, value in _proxy_values(instance):
        found.setdefault(inner, {})[widget] = value
    for slot, value in given.items():
        end = bound[slot]
        if end is None or end.link is None:  # a link wins over the value
            for inner, widget in targets[slot]:
                found.setdefault(inner, {})[widget] = value
    return found


def _input_targets(
    definition: Definition, document: Document, around: tuple[str, ...] = ()
) -> dict[int, list[tuple[str, str]]]:
    """Definition input slot -> (inner node id, widget name) of the widgets that it feeds, also in nested instances."""
    targets: dict[int, list[tuple[str, str]]] = {}
    for node in definition.graph.nodes.values():
        for slot in node.inputs:
            link = definition.graph.links.get(slot.link) if slot.link is not None else None
            if link is None or link.origin != INPUT_NODE:
                continue
            if slot.widget is not None:
                targets.setdefault(link.slot, []).append((node.id, slot.widget))
            elif node.type in document.definitions and node.type not in around and len(around) < MAX_NESTING:
                nested = document.definitions[node.type]
                inner = _input_targets(nested, document, (*around, definition.id, nested.id))
                if any(nested.inputs[k][0] == slot.name for k in inner if k < len(nested.inputs)):
                    targets.setdefault(link.slot, []).append((node.id, slot.name))
    return {slot: ends for slot, ends in sorted(targets.items()) if slot < len(definition.inputs)}


def _given_values(
    definition: Definition, instance: UiNode, targets: dict[int, list[tuple[str, str]]], findings: Findings
) -> dict[int, Json]:
    """Definition input slot -> the value that the instance holds for it; later generations win."""
    names = [name for name, _ in definition.inputs]
    given: dict[int, Json] = {}
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
