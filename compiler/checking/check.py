"""Is this workflow one that ComfyUI would accept, and one that comfyc can compile? Every problem at once.

The checks and their names are the server's (POST /prompt); only nodes that an output node needs are looked at, as
there. Where the server is unkind and nothing is in doubt, we are kinder and warn: a missing widget gets its default, a
file name written on Windows finds its file. strict=True is the server to the letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches

from compiler.checking.check_input import InputCheck, types_match
from compiler.checking.coercion import Folders, choices, choose, converted, default_of
from compiler.checking.hints import missing_hint, unknown_class_hint
from compiler.checking.server_errors import node_errors, to_comfyui
from compiler.lowering.plumbing import PASS_THROUGH, PRIMITIVES
from graphs.definition import NodeDef
from graphs.errors import Problem
from graphs.graph import Graph
from graphs.node import COMBO, Input, Json, Link, Node
from graphs.schemas import Schemas

__all__ = ["check", "coerced", "find_schema", "node_errors", "output_nodes", "to_comfyui", "types_match"]

# Inputs that frontends write into API files and no node takes: upload buttons, previews.
PSEUDO_INPUTS = frozenset({"upload", "choose file to upload", "video-preview", "videopreview", "audioUI", "is_changed"})


def check(
    graph: Graph,
    schemas: Mapping[str, NodeDef],
    folders: Folders | None = None,
    *,
    strict: bool = False,
    compiling: bool = True,
) -> tuple[Problem, ...]:
    """Every problem of the nodes that outputs need, in the file's order; warnings and infos among them.

    folders: files by model folder, for combos that list files; a folder that is not in it is not checked.
    strict: mirror the server: missing widgets are errors, file names must be exact, an unknown class anywhere is fatal.
    compiling: also report classes that comfyc knows but does not compile.
    """
    known = {c: find_schema(schemas, c) for c in {node.class_type for node in graph}}
    inputs = InputCheck(graph, known, folders, strict)
    outputs = output_nodes(graph, schemas)
    reached = graph.ancestors(node.id for node in outputs)
    found: list[Problem] = []
    for node in graph:
        schema = known[node.class_type]
        if schema is None and node.class_type not in PASS_THROUGH:
            found.append(_unknown_class(node, schemas, fatal=strict or node.id in reached))
        elif node.id in reached:
            if compiling and schema is not None and schema.lower is None and node.class_type not in PRIMITIVES:
                found.append(_unsupported(node))
            found.extend(_node(node, schema, inputs))
    if not outputs:
        hint = "add a SaveImage or PreviewImage node, or unmute the one that is there"
        found.append(Problem("prompt_no_outputs", "the workflow has no output node", hint=hint))
    return _with_dependents(graph, found, outputs)


def coerced(graph: Graph, schemas: Mapping[str, NodeDef], folders: Folders | None = None) -> Graph:
    """The graph with every widget value converted, defaults filled in and file names as they are on this disk.

    Values that cannot be converted stay as they are: `check` reports them.
    """
    known = {c: find_schema(schemas, c) for c in {node.class_type for node in graph}}
    nodes = [_coerced(node, known[node.class_type], folders) for node in graph]
    return graph if all(new is old for new, old in zip(nodes, graph, strict=True)) else graph.replaced(nodes)


def find_schema(schemas: Mapping[str, NodeDef], class_type: str) -> NodeDef | None:
    """The schema of a class, also under a name that it had earlier."""
    return schemas.lookup(class_type) if isinstance(schemas, Schemas) else schemas.get(class_type)


def output_nodes(graph: Graph, schemas: Mapping[str, NodeDef]) -> tuple[Node, ...]:
    """The nodes that do something for the user: save, preview."""
    known = {class_type: find_schema(schemas, class_type) for class_type in {node.class_type for node in graph}}
    return tuple(node for node in graph if (schema := known[node.class_type]) is not None and schema.output_node)


def _unknown_class(node: Node, schemas: Mapping[str, NodeDef], *, fatal: bool) -> Problem:
    hint, severity = unknown_class_hint(node.class_type, schemas), "error" if fatal else "warning"
    return Problem("missing_node_type", "unknown node class", node.id, node.class_type, hint=hint, severity=severity)


def _unsupported(node: Node) -> Problem:
    hint = "remove or bypass the node; the rest of the workflow is checked all the same"
    return Problem("unsupported", "comfyc does not compile this node class yet", node.id, node.class_type, hint=hint)


def _node(node: Node, schema: NodeDef | None, inputs: InputCheck) -> Iterator[Problem]:
    if schema is None:  # a reroute: of whatever type
        for name, value in node.links.items():
            yield from inputs.link(node, Input(name, "*"), value)
        return
    names = set()
    for declared in schema.inputs:
        names.add(declared.name)
        if declared.hidden:
            continue
        if declared.name in node.inputs:
            yield from inputs.problems(node, declared, node.inputs[declared.name])
        elif declared.required:
            yield from _missing(node, declared, inputs.strict)
    if not names.issuperset(node.inputs):
        yield from _unknown_inputs(node, names)


def _missing(node: Node, declared: Input, strict: bool) -> Iterator[Problem]:
    if declared.type.startswith("COMFY_") and any(name.startswith(f"{declared.name}.") for name in node.inputs):
        return  # a dynamic input is given by its members
    default = default_of(declared) if declared.is_widget and not strict else None
    missing = Problem(
        "required_input_missing",
        "required input is missing",
        node.id,
        node.class_type,
        declared.name,
        hint=missing_hint(declared),
        details=declared.name,
        extra_info={"input_name": declared.name},
    )
    if default is not None:
        message, hint = f"missing, so the default {default!r} is taken", "set it to be sure"
        missing = replace(missing, message=message, hint=hint, severity="warning")
    yield missing


def _unknown_inputs(node: Node, names: set[str]) -> Iterator[Problem]:
    for name in node.inputs:
        if name in names or name in PSEUDO_INPUTS or name.partition(".")[0] in names:
            continue  # dotted names are members of a dynamic input
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean '{close[0]}'?" if close else None
        message = "the class has no such input, so it is ignored"
        yield Problem("unknown_input", message, node.id, node.class_type, name, hint=hint, severity="info")


def _with_dependents(graph: Graph, problems: list[Problem], outputs: tuple[Node, ...]) -> tuple[Problem, ...]:
    """The problems, each with the output nodes that hang on its node."""
    if not any(problem.node_id is not None for problem in problems):
        return tuple(problems)
    masks = {node.id: 1 << i for i, node in enumerate(outputs)}  # outputs reached, a bit each
    for node in reversed(graph.topological()):
        mask = masks.get(node.id, 0)
        for consumer, _, _ in graph.consumers(node.id):
            mask |= masks[consumer]
        masks[node.id] = mask
    names: dict[int, tuple[str, ...]] = {}
    for mask in {masks[problem.node_id] for problem in problems if problem.node_id is not None}:
        names[mask] = tuple(node.id for i, node in enumerate(outputs) if mask >> i & 1)
    return tuple(
        replace(p, dependent_outputs=names[masks[p.node_id]]) if p.node_id is not None else p for p in problems
    )


def _coerced(node: Node, schema: NodeDef | None, folders: Folders | None) -> Node:
    if schema is None:
        return node
    changed: dict[str, Json] = {}
    for declared in schema.inputs:
        if declared.hidden:
            continue
        if declared.name not in node.inputs:
            default = default_of(declared) if declared.required and declared.is_widget else None
            if default is not None:
                changed[declared.name] = default
            continue
        given = node.inputs[declared.name]
        if isinstance(given, Link | list):
            continue
        value = _coerced_value(declared, given, folders)
        if value is not given and (type(value) is not type(given) or value != given):
            changed[declared.name] = value
    return replace(node, inputs={**node.inputs, **changed}) if changed else node


def _coerced_value(declared: Input, value: Json, folders: Folders | None) -> Json:
    try:
        value = converted(declared.type, value)
    except (ValueError, TypeError, OverflowError):
        return value  # reported by check
    if declared.type == COMBO and (accepted := choices(declared, folders)) is not None:
        choice = choose(declared, value, accepted)
        return choice.value if choice.found else value
    return value
