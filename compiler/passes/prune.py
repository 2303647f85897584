"""Drop what no output node needs."""

from __future__ import annotations

from compiler.passes.driver import Change, Context, PassResult
from graphs.graph import Graph
from graphs.node_classes import output_nodes


def prune(graph: Graph, context: Context) -> PassResult[Graph]:
    """Drop what no output node needs.

    1. A node from which no link leads to an output node is removed.
    2. What the reader of the file resolved away (Graph.dissolved: muted, bypassed, notes, reroutes) is reported here,
       once, and no longer carried along.
    3. A graph without any output node stays as it is: `check` reports it.
    """
    changes = [Change(node_id, f"{class_type}: {reason}") for node_id, class_type, reason in graph.dissolved]
    reached = graph.ancestors(node.id for node in output_nodes(graph, context.schemas))
    dead = [node for node in graph if node.id not in reached] if reached else []
    changes += [Change(node.id, f"{node.class_type}: no output node needs it") for node in dead]
    if not changes:
        return PassResult(graph)
    kept = (node for node in graph if node.id in reached or not reached)
    return PassResult(Graph(kept, workflow=graph.workflow, warnings=graph.warnings), tuple(changes))
