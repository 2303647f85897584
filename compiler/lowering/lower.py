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
from graphs.node_classes import NOT_COMPILED, NOT_COMPILED_HINT, UNKNOWN_CLASS, output_nodes
from graphs.nodes.packs import node_table
from graphs.program import Program


def lower(graph: Graph, nodes: Mapping[str, NodeDef] | None = None) -> Program:
    """The program of everything that an output node needs, unoptimised, steps in the graph's topological order.

    graph: as `check` gives it: every value has the type of its input.
    nodes: the node classes to lower with; None: ours and those of installed packs. Raises WorkflowError with every
    problem of the workflow at once.
    """
    nodes = node_table() if nodes is None else nodes
    problems = [_unsupported(node, nodes) for node in graph if _lowering_of(node, nodes) is None]
    wanted = graph.ancestors(node.id for node in output_nodes(graph, nodes))
    problems = [p for p in problems if p.type == UNKNOWN_CLASS[0] or p.node_id in wanted]
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
        return Problem(*NOT_COMPILED, node.id, node.class_type, hint=NOT_COMPILED_HINT)
    return Problem(*UNKNOWN_CLASS, node.id, node.class_type, hint="remove or bypass the node, or add its definition")
