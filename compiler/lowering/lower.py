"""Graph -> Program: walks the nodes in order and lets each NodeDef.lower emit its steps.

After this nothing reads the Graph.
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.lowering.builder import NodeBuilder, Poisoned, ProgramBuilder
from graphs.definition import NodeDef
from graphs.errors import Problem, WorkflowError
from graphs.graph import Graph
from graphs.node import Node
from graphs.nodes.packs import node_table
from graphs.program import Program


def lower(graph: Graph, nodes: Mapping[str, NodeDef] | None = None) -> Program:
    """The program of everything that an output node needs, unoptimised, steps in the graph's topological order.

    nodes: the node classes to lower with; None: ours and those of installed packs. Raises WorkflowError with every
    problem of the workflow at once.
    """
    nodes = node_table() if nodes is None else nodes
    problems = [_unsupported(node, nodes) for node in graph if _lowering_of(node, nodes) is None]
    wanted = graph.ancestors(n.id for n in graph if n.class_type in nodes and nodes[n.class_type].output_node)
    problems = [p for p in problems if p.type == "missing_node_type" or p.node_id in wanted]
    if not wanted and not problems:
        hint = "add a SaveImage or PreviewImage node"
        problems.append(Problem("prompt_no_outputs", "the workflow has no output node", hint=hint))
    program = ProgramBuilder()
    poisoned: set[str] = {p.node_id for p in problems if p.node_id is not None}
    for node in graph.topological():
        if node.id not in wanted or node.id in poisoned:
            continue
        definition = nodes[node.class_type]
        assert definition.lower is not None  # the others are poisoned
        builder = NodeBuilder(node, definition, program, poisoned)
        try:
            definition.lower(node, builder)
        except Poisoned:
            poisoned.add(node.id)
        except WorkflowError as error:
            problems.extend(error.problems)
            poisoned.add(node.id)
    if problems:
        raise WorkflowError("the workflow cannot be compiled", tuple(problems))
    return program.finish()


def _lowering_of(node: Node, nodes: Mapping[str, NodeDef]) -> NodeDef | None:
    definition = nodes.get(node.class_type)
    return definition if definition is not None and definition.lower is not None else None


def _unsupported(node: Node, nodes: Mapping[str, NodeDef]) -> Problem:
    if node.class_type in nodes:
        what, kind = "this node class is known but not compiled yet", "unsupported_node"
        hint = "remove or bypass the node; `comfyc explain` shows what becomes of every node"
    else:
        what, kind = "unknown node class", "missing_node_type"
        hint = "remove or bypass the node, or add its definition"
    return Problem(kind, what, node_id=node.id, class_type=node.class_type, hint=hint)
