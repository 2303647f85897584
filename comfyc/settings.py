"""--set NODE.INPUT=VALUE: which settings change the workflow before it is compiled, which are parameters of a run."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graphs.definition import NodeDef
from graphs.errors import UsageError
from graphs.node import Link

if TYPE_CHECKING:
    from compiler.options import CompileOptions
    from graphs.graph import Graph

Json = Any


def applied(
    graph: Graph, settings: Iterable[tuple[str, str]], parameters: Collection[str], schemas: Mapping[str, NodeDef]
) -> tuple[Graph, dict[str, str]]:
    """(the workflow with what is fixed at compile time set, the rest by parameter name).

    parameters: what a plan of this workflow takes at run time. Model files and LoRA strengths are not among them: they
    are set in the workflow, which is compiled with them. The last setting of a name wins.
    Raises UsageError for a node or input that is not there, an input that is linked, a value that does not fit.
    """
    run_time: dict[str, str] = {}
    changes: dict[str, dict[str, Json]] = {}
    for name, text in settings:
        if name in parameters:
            run_time[name] = text
            continue
        node_id, _, input_name = name.partition(".")
        if node_id not in graph:
            raise _no_such(name, f"there is no node {node_id}", _names(graph))
        node = graph[node_id]
        if input_name not in node.inputs:
            raise _no_such(
                name,
                f"node {node_id} ({node.class_type}) has no input '{input_name}'",
                [f"{node_id}.{i}" for i in node.widgets],
            )
        if isinstance(link := node.inputs[input_name], Link):
            raise UsageError(
                f"--set {name}: this input is linked to node {link.node}", hint=f"set a value of node {link.node}"
            )
        changes.setdefault(node_id, {})[input_name] = _value(name, text, node.class_type, input_name, schemas)
    if not changes:
        return graph, run_time
    nodes = (replace(n, inputs={**n.inputs, **changes[n.id]}) if n.id in changes else n for n in graph)
    return graph.replaced(nodes), run_time


def set_in_workflow(graph: Graph, settings: Sequence[tuple[str, str]], schemas: Mapping[str, NodeDef]) -> Graph:
    """The workflow with every setting written into it."""
    return applied(graph, settings, (), schemas)[0]


def run_time_parameters(graph: Graph, options: CompileOptions, schemas: Mapping[str, NodeDef]) -> frozenset[str]:
    """What a plan of this workflow will take at run time: lowering alone decides it. Raises WorkflowError."""
    from compiler.checking.check import check
    from compiler.lowering.lower import lower
    from compiler.passes.driver import Context
    from compiler.pipeline import optimise_graph

    optimised, _ = optimise_graph(check(graph, schemas).runnable, Context(schemas, options))
    return frozenset(lower(optimised).parameters) - set(options.freeze)


def _value(name: str, text: str, class_type: str, input_name: str, schemas: Mapping[str, NodeDef]) -> Json:
    from graphs.parameters import checked, parameter_type
    from graphs.program import Parameter

    declared = schemas[class_type].input(input_name) if class_type in schemas else None
    if declared is None:
        return text
    options = None if declared.folder else declared.options
    parameter = Parameter(name, parameter_type(declared), declared.default, declared.min, declared.max, options)
    try:
        return checked(parameter, text)
    except ValueError as error:
        raise UsageError(f"--set {name}: {error}") from error


def _names(graph: Graph) -> list[str]:
    return [f"{node.id}.{name}" for node in graph for name in node.widgets]


def _no_such(name: str, what: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=3) or [k for k in known if k.endswith(name.partition(".")[2])][:3]
    return UsageError(f"--set {name}: {what}", hint=f"there is {', '.join(near or known[:8])}" if known else None)
