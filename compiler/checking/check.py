"""Is this workflow one that ComfyUI would accept, and one that comfyc can compile? Every problem at once.

The checks and their names are the server's (POST /prompt); only nodes that an output node needs are looked at, as
there. Where the server is unkind and nothing is in doubt, we are kinder and warn: a missing widget gets its default, a
file name written on Windows finds its file. strict=True is the server to the letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.checking.files import Files, KnownFiles
from compiler.checking.findings import Findings
from compiler.checking.links import check_link, check_no_link
from compiler.checking.structure import (
    Structure,
    broken_outputs,
    check_presence,
    check_structure,
    dependents,
)
from compiler.checking.values import check_value
from graphs.definition import NodeDef
from graphs.dynamic_inputs import inputs_of
from graphs.errors import Problem
from graphs.graph import Graph
from graphs.node import WIDGET_TYPES, Input, Link, Node

# Errors that stop the other outputs too: a server refuses the whole prompt, and comfyc what it cannot compile.
_FATAL = frozenset({"missing_node_type", "unsupported"})


@dataclass(frozen=True)
class Checked:
    """graph: every widget value converted, defaults filled in, file names as the folders have them.

    outputs: ids of the output nodes that can run. left_out: those that cannot, where others can: what is wrong with
    them is a warning then, unless the check was strict.
    """

    graph: Graph
    problems: tuple[Problem, ...]
    outputs: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def runnable(self) -> Graph:
        """The graph without the outputs that are left out, and without what only they need."""
        if not self.left_out:
            return self.graph
        needed = self.graph.ancestors(self.outputs)
        return self.graph.replaced(node for node in self.graph if node.id in needed)


def check(
    graph: Graph,
    schemas: Mapping[str, NodeDef],
    files: Files | None = None,
    *,
    strict: bool = False,
    compiling: bool = True,
) -> Checked:
    """Every problem of the nodes that outputs need, in the file's order, and the graph with its values converted.

    files: by model folder, for combos that list files; a folder that is not in it is not checked.
    strict: mirror the server: missing widgets are errors, file names must be exact, an unknown class anywhere is fatal,
    and what is wrong with one output is an error although others can run.
    compiling: also report classes that comfyc knows but does not compile.
    """
    findings = Findings()
    structure = check_structure(graph, schemas, findings, strict=strict, compiling=compiling)
    known = KnownFiles(files or {})
    nodes = [
        _node(node, structure, known, findings, strict) if node.id in structure.reached else node for node in graph
    ]
    if any(new is not old for new, old in zip(nodes, graph, strict=True)):
        graph = graph.replaced(nodes)
    return _sorted_out(graph, structure, findings, strict)


def _sorted_out(graph: Graph, structure: Structure, findings: Findings, strict: bool) -> Checked:
    """The problems in the file's order, each with the outputs that hang on it, and which outputs can run."""
    outputs = tuple(node.id for node in structure.outputs)
    if not findings.problems:
        return Checked(graph, (), outputs, ())
    place = {node.id: number for number, node in enumerate(graph)}

    def order(problem: Problem) -> tuple[int, int]:
        """The file's order of nodes, the schema's of inputs."""
        if problem.node_id is None:
            return len(place), 0
        schema = structure.known[graph[problem.node_id].class_type]
        names = [declared.name for declared in schema.inputs] if schema and problem.input_name is not None else []
        return place[problem.node_id], names.index(problem.input_name) if problem.input_name in names else len(names)

    by_node = dependents(structure, findings.problems)
    problems = [
        replace(p, dependent_outputs=by_node[p.node_id]) if p.node_id is not None else p
        for p in sorted(findings.problems, key=order)
    ]
    errors = [p for p in problems if p.severity == "error"]
    broken = broken_outputs(structure, errors)
    left_out = tuple(i for i in outputs if i in broken)
    if len(left_out) == len(outputs) or any(p.type in _FATAL for p in errors):
        return Checked(graph, tuple(problems), (), ())
    if not strict:
        problems = [replace(p, severity="warning") if p.severity == "error" else p for p in problems]
        message = "this output is left out, the others are made"
        hint = "see the problems named with it, or use --strict to stop at them"
        problems += [
            Problem("output_left_out", message, i, graph[i].class_type, hint=hint, severity="warning") for i in left_out
        ]
    return Checked(graph, tuple(problems), tuple(i for i in outputs if i not in broken), left_out)


def _node(node: Node, structure: Structure, known: KnownFiles, findings: Findings, strict: bool) -> Node:
    """The node with its values converted; reports what is wrong with its inputs."""
    schema = structure.known[node.class_type]
    if schema is None:  # a reroute: of whatever type
        for name, link in node.links.items():
            check_link(structure, node, Input(name, "*"), link, findings)
        return node
    changed, is_compiled = check_presence(node, schema, findings, strict=strict), schema.lower is not None
    for declared in inputs_of(schema.inputs, node.inputs):
        name = declared.name
        if declared.hidden or name not in node.inputs:
            continue
        if isinstance(given := node.inputs[name], Link):
            check_link(structure, node, declared, given, findings)
        elif declared.type in WIDGET_TYPES:
            value = check_value(node, declared, given, known, findings, strict=strict, is_compiled=is_compiled)
            if value is not given and (type(value) is not type(given) or value != given):
                changed[name] = value
        else:
            check_no_link(node, declared, given, findings)
    return replace(node, inputs={**node.inputs, **changed}) if changed else node
