"""Put the values of primitives where they are needed while compiling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compiler.lowering.plumbing import PRIMITIVES
from compiler.passes.driver import Change, Context, PassResult
from graphs.definition import NodeDef
from graphs.graph import Graph
from graphs.node import Json, Link, Node
from graphs.node_classes import find_schema
from graphs.values import COMPILE_TIME_TYPES


def dissolve_primitives(graph: Graph, context: Context) -> PassResult[Graph]:
    """A primitive is a node whose one widget is its output. It is one parameter that feeds all its consumers, and stays
    that, except:

    1. A consumer that makes only compile-time values (a loader) gets the value itself.
    2. Every consumer of a frozen primitive gets the value itself.
    3. A primitive that loses its last consumer by that is removed.
    """
    values = {node.id: node.inputs[PRIMITIVES[node.class_type]] for node in graph if _is_constant(node)}
    if not values:
        return PassResult(graph)
    loaders = _loader_classes(graph, context.schemas)
    frozen = {i for i in values if f"{i}.{PRIMITIVES[graph[i].class_type]}" in context.options.freeze}
    changes: list[Change] = []
    rewritten: dict[str, Node] = {}
    feeding: set[str] = set()  # primitives that still have consumers
    fed: set[str] = set()  # primitives that gave a value away
    for node in graph:
        given: dict[str, Json] = {}
        for name, link in node.links.items():
            if link.node not in values:
                continue
            if node.class_type in loaders or link.node in frozen:
                given[name] = values[link.node]
                fed.add(link.node)
                changes.append(Change(node.id, f"'{name}' is {values[link.node]!r}, the value of node {link.node}"))
            else:
                feeding.add(link.node)
        rewritten[node.id] = replace(node, inputs={**node.inputs, **given}) if given else node
    if not changes:
        return PassResult(graph)
    gone = fed - feeding
    changes += [Change(i, f"{graph[i].class_type}: its value went where it is used") for i in values if i in gone]
    return PassResult(graph.replaced(n for i, n in rewritten.items() if i not in gone), tuple(changes))


def _is_constant(node: Node) -> bool:
    widget = PRIMITIVES.get(node.class_type)
    return widget is not None and widget in node.inputs and not isinstance(node.inputs[widget], Link)


def _loader_classes(graph: Graph, schemas: Mapping[str, NodeDef]) -> frozenset[str]:
    known = {c: find_schema(schemas, c) for c in {node.class_type for node in graph}}
    return frozenset(c for c, schema in known.items() if schema is not None and makes_compile_time_values(schema))


def makes_compile_time_values(schema: NodeDef) -> bool:
    """Whether nothing of a node of this class is left at run time."""
    return bool(schema.outputs) and all(output.type in COMPILE_TIME_TYPES for output in schema.outputs)
