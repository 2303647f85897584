"""Merge nodes that compute the same."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace

from compiler.passes.dissolve_primitives import makes_compile_time_values
from compiler.passes.driver import Change, Context, PassResult
from graphs.definition import NodeDef
from graphs.graph import Graph
from graphs.node import Json, Link, Node
from graphs.node_classes import find_schema

Key = tuple[object, ...]


def dedupe(graph: Graph, context: Context) -> PassResult[Graph]:
    """Merge nodes that compute the same.

    1. Two nodes of the same class with the same inputs are merged; inputs are compared after merging what they link
    to, widget values with their type (1, 1.0 and true differ).
    2. The node that stands first in the file stays, with its title.
    3. Output nodes, impure classes and unknown classes are never merged.
    4. Nodes with widget values are merged only when nobody can set those values apart from each other at run time: when
    the class makes only compile-time values (loaders), or all of the values are frozen. Two empty prompts are two
    parameters.
    """
    mergeable = {c: _may_merge(find_schema(context.schemas, c)) for c in {node.class_type for node in graph}}
    frozen = frozenset(context.options.freeze)
    place = {node.id: i for i, node in enumerate(graph)}
    groups: dict[Key, list[str]] = {}
    numbers: dict[str, int] = {}  # node id -> number of its group
    for node in graph.topological():
        schema = mergeable[node.class_type]
        if schema is None or not (makes_compile_time_values(schema) or _all_fixed(node, frozen)):
            numbers[node.id] = place[node.id]
            continue
        group = groups.setdefault(_key(node, numbers), [])
        group.append(node.id)
        numbers[node.id] = place[group[0]]
    gone: dict[str, str] = {}  # node id -> the node that stays in its place
    for group in groups.values():
        first = min(group, key=place.__getitem__)
        gone |= {node_id: first for node_id in group if node_id != first}
    if not gone:
        return PassResult(graph)
    kept_nodes = (_relinked(node, gone) for node in graph if node.id not in gone)
    changes = (Change(n.id, f"{n.class_type}: the same as node {gone[n.id]}") for n in graph if n.id in gone)
    return PassResult(graph.replaced(kept_nodes), tuple(changes))


def _may_merge(schema: NodeDef | None) -> NodeDef | None:
    if schema is None or schema.output_node or not schema.pure:
        return None
    return None if any(declared.type == "UNIQUE_ID" for declared in schema.inputs) else schema


def _all_fixed(node: Node, frozen: Collection[str]) -> bool:
    return all(isinstance(v, Link) or f"{node.id}.{name}" in frozen for name, v in node.inputs.items())


def _key(node: Node, numbers: Mapping[str, int]) -> Key:
    parts: list[object] = [node.class_type]
    for name in sorted(node.inputs):
        value = node.inputs[name]
        if isinstance(value, Link):
            parts.append((name, numbers.get(value.node, value.node), value.slot))
        else:
            parts.append((name, _frozen_value(value)))
    return tuple(parts)


def _frozen_value(value: Json) -> Key:
    return ("str", value) if isinstance(value, str) else (type(value).__name__, json.dumps(value, sort_keys=True))


def _relinked(node: Node, gone: Mapping[str, str]) -> Node:
    changed = {name: Link(gone[v.node], v.slot) for name, v in node.links.items() if v.node in gone}
    return replace(node, inputs={**node.inputs, **changed}) if changed else node
