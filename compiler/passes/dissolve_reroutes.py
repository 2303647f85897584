"""Take reroutes out of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compiler.lowering.plumbing import PASS_THROUGH
from compiler.passes.driver import Change, Context, PassResult
from graphs.graph import Graph
from graphs.node import Json, Link, Node


def dissolve_reroutes(graph: Graph, context: Context) -> PassResult[Graph]:
    """Take reroutes out of the graph.

    1. A reroute is removed; its consumers get what it got, link or value.
    2. A reroute without an input stays: `check` reports it.
    """
    passed: dict[str, Link | Json] = {}  # reroute -> what it passes on
    rewritten: dict[str, Node] = {}
    for node in graph.topological():
        new = _rewired(node, passed) if passed else node
        if node.class_type in PASS_THROUGH and node.inputs:
            passed[node.id] = new.inputs[_input_name(node)]
        else:
            rewritten[node.id] = new
    if not passed:
        return PassResult(graph)
    changes = [
        Change(node.id, f"{node.class_type}: passes on {_shown(passed[node.id])}")
        for node in graph
        if node.id in passed
    ]
    kept = (rewritten[node.id] for node in graph if node.id in rewritten)
    return PassResult(graph.replaced(kept), tuple(changes))


def _rewired(node: Node, passed: Mapping[str, Link | Json]) -> Node:
    changed = {name: passed[link.node] for name, link in node.links.items() if link.node in passed}
    return replace(node, inputs={**node.inputs, **changed}) if changed else node


def _input_name(node: Node) -> str:
    """The input that a reroute passes on, whatever the file calls it."""
    known = (name for name in PASS_THROUGH[node.class_type] if name in node.inputs)
    return next(known, next(iter(node.inputs)))


def _shown(value: Link | Json) -> str:
    return f"slot {value.slot} of node {value.node}" if isinstance(value, Link) else repr(value)
