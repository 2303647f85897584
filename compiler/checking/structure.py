"""The structure of a graph: known classes, outputs, the nodes that they need, and which inputs a node has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from compiler.checking.findings import Findings
from compiler.lowering.plumbing import PASS_THROUGH, PRIMITIVES
from graphs.definition import NodeDef
from graphs.dynamic_inputs import inputs_of
from graphs.errors import Problem
from graphs.graph import Graph
from graphs.node import COMBO, Input, Json, Node
from graphs.node_classes import NOT_COMPILED, NOT_COMPILED_HINT, UNKNOWN_CLASS, schemas_in

# Inputs that frontends write into API files and no node takes: upload buttons, previews.
PSEUDO_INPUTS = frozenset({"upload", "choose file to upload", "video-preview", "videopreview", "audioUI", "is_changed"})
MAX_DEPENDENTS = 256  # output nodes named with one problem
_CHOICES_SHOWN = 6


@dataclass(frozen=True)
class Structure:
    """known: the schema of each class of the graph, None where it is unknown. reached: ids that outputs need."""

    graph: Graph
    known: Mapping[str, NodeDef | None]
    outputs: tuple[Node, ...]
    reached: frozenset[str]


def check_structure(
    graph: Graph, schemas: Mapping[str, NodeDef], findings: Findings, *, strict: bool, compiling: bool
) -> Structure:
    """missing_node_type, unsupported, prompt_no_outputs. An unknown class that no output needs is a warning."""
    known = schemas_in(graph, schemas)
    outputs = tuple(node for node in graph if (schema := known[node.class_type]) is not None and schema.output_node)
    reached = graph.ancestors(node.id for node in outputs)
    hints: dict[str, str] = {}
    for node in graph:
        schema, is_reached = known[node.class_type], node.id in reached
        if schema is None and node.class_type not in PASS_THROUGH:
            if node.class_type not in hints:
                hints[node.class_type] = _unknown_class_hint(node.class_type, schemas, findings)
            severity = "error" if strict or is_reached else "warning"
            findings.add(*UNKNOWN_CLASS, node, hint=hints[node.class_type], severity=severity)
        elif compiling and is_reached and schema and schema.lower is None and node.class_type not in PRIMITIVES:
            findings.add(*NOT_COMPILED, node, hint=NOT_COMPILED_HINT)
    if not outputs:
        hint = "add a SaveImage or PreviewImage node, or unmute the one that is there"
        findings.add("prompt_no_outputs", "the workflow has no output node", hint=hint)
    return Structure(graph, known, outputs, reached)


def check_presence(node: Node, schema: NodeDef, findings: Findings, *, strict: bool) -> dict[str, Json]:
    """required_input_missing, unknown_input. Gives the defaults that stand in for widgets that are not given."""
    defaults: dict[str, Json] = {}
    names = set()
    for declared in inputs_of(schema.inputs, node.inputs):
        names.add(declared.name)
        if declared.name in node.inputs or not declared.required or declared.hidden:
            continue
        default = default_of(declared) if declared.is_widget else None
        if default is not None:
            defaults[declared.name] = default
        message, hint, severity = "required input is missing", _missing_hint(declared), "error"
        if default is not None and not strict:
            message, hint = f"missing, so the default {default!r} is taken", "set it to be sure"
            severity = "warning"
        findings.add("required_input_missing", message, node, declared.name, hint=hint, severity=severity)
    if not names.issuperset(node.inputs):
        _unknown_inputs(node, names, findings)
    return defaults


def _unknown_inputs(node: Node, names: set[str], findings: Findings) -> None:
    """Inputs that the class does not have are ignored, as a server does."""
    for name in node.inputs:
        if name in names or name in PSEUDO_INPUTS or name.partition(".")[0] in names:
            continue  # a member of another choice of a dynamic combo
        close = findings.similar(name, names, most=1)
        hint = f"did you mean '{close[0]}'?" if close else None
        message = "the class has no such input, so it is ignored"
        findings.add("unknown_input", message, node, name, hint=hint, severity="info")


def default_of(declared: Input) -> Json:
    """The value that stands in for a missing one: the schema's default, else the first of fixed options, else None."""
    if declared.default is None and declared.type == COMBO and declared.folder is None and declared.options:
        return declared.options[0]
    return declared.default


def dependents(structure: Structure, problems: Iterable[Problem]) -> dict[str, tuple[str, ...]]:
    """By the id of each node with a problem the output nodes that need it, at most MAX_DEPENDENTS."""
    wanted = {problem.node_id for problem in problems if problem.node_id is not None}
    if not wanted:
        return {}
    masks = {node.id: 1 << i for i, node in enumerate(structure.outputs)}  # outputs reached, a bit each
    for node in reversed(structure.graph.topological()):
        mask = masks.get(node.id, 0)
        for consumer, _, _ in structure.graph.consumers(node.id):
            mask |= masks[consumer]
        masks[node.id] = mask
    names = {mask: _outputs_in(mask, structure.outputs) for mask in {masks[node_id] for node_id in wanted}}
    return {node_id: names[masks[node_id]] for node_id in wanted}


def broken_outputs(structure: Structure, errors: Iterable[Problem]) -> frozenset[str]:
    """Ids of the output nodes that need a node with an error."""
    broken = {problem.node_id for problem in errors}
    for node in structure.graph.topological():
        if node.id not in broken and any(link.node in broken for link in node.links.values()):
            broken.add(node.id)
    return frozenset(node.id for node in structure.outputs if node.id in broken)


def _outputs_in(mask: int, outputs: tuple[Node, ...]) -> tuple[str, ...]:
    found: list[str] = []
    while mask and len(found) < MAX_DEPENDENTS:
        lowest = mask & -mask
        found.append(outputs[lowest.bit_length() - 1].id)
        mask ^= lowest
    return tuple(found)


def _missing_hint(declared: Input) -> str:
    if not declared.is_widget:
        return f"link an output of type {declared.type}"
    names = [str(option) for option in declared.options or ()]
    more = ", ..." if len(names) > _CHOICES_SHOWN else ""
    return f"set '{declared.name}'" + (f" to one of {', '.join(names[:_CHOICES_SHOWN])}{more}" if names else "")


def _unknown_class_hint(class_type: str, schemas: Mapping[str, NodeDef], findings: Findings) -> str:
    """Names that look like it, else how to make it known."""
    close = findings.similar(class_type, schemas, most=2, cutoff=0.75)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return "remove or bypass the node, or add its schema from the /object_info of a server that has it"
