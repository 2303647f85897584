"""UI form -> Graph: what the front end does when a user presses Run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from graphs.definition import NodeDef
from graphs.errors import WorkflowError
from graphs.graph import Graph
from graphs.node import Link, Node
from graphs.reading import virtual_nodes
from graphs.reading.connect import connect
from graphs.reading.custom_combo import with_index
from graphs.reading.dynamic_prompts import choose_texts
from graphs.reading.everywhere import add_everywhere_links
from graphs.reading.findings import Findings
from graphs.reading.group_nodes import expand_group_nodes
from graphs.reading.links import Resolver, Value
from graphs.reading.renumber import renumber
from graphs.reading.rounding import rounded
from graphs.reading.subgraphs import flatten
from graphs.reading.text_replacement import Aliases, replace_texts
from graphs.reading.ui_format import find_ui, parse_document
from graphs.reading.ui_graph import MUTED, Flat, UiNode
from graphs.reading.widget_list import CUSTOM_COMBO, widget_type, widgets_of
from graphs.reading.widgets import has_names, widget_values
from graphs.schemas import Schemas, builtin

Json = Any


@dataclass(frozen=True)
class ReadOptions:
    """Choices that the front end makes at the moment of a run.

    seed: of the choices in dynamic prompts ({a|b}). now: for %date:...%; None: the clock; keep_dates leaves them in the
    text, for a plan that resolves them when it saves. prefer_ui: read a picture's UI form where it has both.
    """

    seed: int = 0
    now: datetime | None = None
    keep_dates: bool = False
    prefer_ui: bool = False


def parse_ui(obj: Json, schemas: Schemas | None = None, *, options: ReadOptions | None = None) -> Graph:
    """UI JSON, bare or in an envelope -> Graph.

    Raises: WorkflowError with all problems of the file.
    """
    ui = find_ui(obj)
    if ui is None:
        raise WorkflowError(
            "this JSON holds no workflow: no list of nodes was found",
            hint="expected a file that ComfyUI saved with Save or Export",
        )
    schemas = schemas if schemas is not None else builtin()
    options = options or ReadOptions()
    findings = Findings()
    document = parse_document(ui, findings)
    findings.raise_problems()
    connect(document, schemas, findings)
    renumber(document, findings)
    aliases = Aliases(document, schemas)
    expand_group_nodes(document, schemas, findings)
    flat = flatten(document, findings)
    add_everywhere_links(flat.graph, document.everywhere, findings)
    findings.raise_problems()
    nodes = _nodes(flat, schemas, findings)
    findings.raise_problems()
    nodes = {node_id: _without_dead_links(node, nodes, findings) for node_id, node in nodes.items()}
    nodes = replace_texts(nodes, aliases, options.now, options.keep_dates, findings)
    findings.raise_problems()
    nodes = choose_texts(nodes, schemas, options.seed, findings)
    ordered = sorted(nodes.values(), key=_place)
    return Graph(ordered, workflow=ui, dissolved=findings.dissolved, warnings=findings.warnings)


def _nodes(flat: Flat, schemas: Schemas, findings: Findings) -> dict[str, Node]:
    """The nodes that stay, by id, with values and resolved links."""
    own: dict[str, dict[str, Json]] = {}

    def own_values(node: UiNode) -> dict[str, Json]:
        if node.id not in own:
            own[node.id] = _own_values(node, schemas, findings)
        return own[node.id]

    def own_value(node_id: str, widget: str) -> Json:
        node = flat.graph.nodes.get(node_id)
        return own_values(node).get(widget) if node is not None else None

    resolver = Resolver(flat, findings, own_value)
    sources = {link.origin for link in flat.graph.links.values()}
    nodes = {}
    for node in flat.graph.nodes.values():
        if _stays(node, schemas, sources, findings):
            nodes[node.id] = _node(node, own_values(node), schemas, resolver, findings)
    return nodes


def _place(node: Node) -> tuple[bool, int]:
    """JavaScript puts keys that are whole numbers first, in ascending order; the server runs ties in that order."""
    number = node.id.isascii() and node.id.isdigit() and len(node.id) < 10
    return (False, int(node.id)) if number else (True, 0)


def _stays(node: UiNode, schemas: Schemas, sources: set[str], findings: Findings) -> bool:
    if node.type in virtual_nodes.VIRTUAL:
        findings.dissolve(node.id, node.type, virtual_nodes.reason(node))
        return False
    if not node.active:
        findings.dissolve(node.id, node.type, "muted" if node.mode == MUTED else "bypassed")
        return False
    if (
        schemas.lookup(node.type) is None
        and node.id not in sources
        and all(slot.link is None for slot in node.inputs)
        and not has_names(node)
    ):
        # Mostly labels and panels of extensions. A server's own node would stand there as well, so it is said.
        findings.dissolve(node.id, node.type, "unknown class without any link")
        findings.warn(
            "missing_node_type",
            "the class is unknown and nothing is linked to it, so it was left out",
            node_id=node.id,
            class_type=node.type,
            hint="give its schema with --object-info FILE to keep it",
        )
        return False
    return True


def _own_values(node: UiNode, schemas: Schemas, findings: Findings) -> dict[str, Json]:
    """The node's widget values with what an instance around it sets."""
    schema = schemas.lookup(node.type)
    values = dict(widget_values(node, schema, findings) or {})
    known = None if schema is None else {w.name for w in widgets_of(schema)}
    for name, value in node.overrides.items():
        if known is None or name in known or name in values:
            values[name] = value
        else:
            findings.warn(
                "unknown_input",
                "the subgraph sets a widget that the class does not have",
                node_id=node.id,
                class_type=node.type,
                input_name=name[:60],
            )
    return values


def _node(node: UiNode, values: dict[str, Json], schemas: Schemas, resolver: Resolver, findings: Findings) -> Node:
    schema = schemas.lookup(node.type)
    inputs: dict[str, Link | Json] = dict(values)
    for slot in node.inputs:
        if slot.link is None:
            continue
        if schema is not None and slot.widget is not None and not _has_widget(schema, slot.widget, values):
            findings.warn(
                "unknown_input",
                "the class has no such widget, so its link is left out",
                node_id=node.id,
                class_type=node.type,
                input_name=slot.name[:60],
            )
            continue
        source = resolver.source(node, slot)
        name = slot.widget or slot.name
        if isinstance(source, Value) and source.rounded and name in node.overrides:
            continue  # what an instance around it sets wins over a primitive inside
        if isinstance(source, Value):
            inputs[name] = _rounded(schema, name, source.value) if source.rounded else source.value
        elif source is not None:
            inputs[slot.name] = source
    if node.type == CUSTOM_COMBO:
        inputs = with_index(inputs)
    title = node.title or (schema.display_name if schema else "") or node.type
    return Node(node.id, node.type, inputs, title)


def _rounded(schema: NodeDef | None, name: str, value: Json) -> Json:
    input = schema.input(name) if schema is not None else None
    return rounded(input, value) if input is not None else value


def _has_widget(schema: NodeDef, name: str, values: Mapping[str, Json]) -> bool:
    """Whether a class has an input that this slot's widget may be, dynamic ones by the name before the dot."""
    if name in values or any(i.name == name for i in schema.inputs):
        return True
    first = name.partition(".")[0]
    return any(i.name == first and widget_type(i).startswith("COMFY_") for i in schema.inputs)


def _without_dead_links(node: Node, nodes: Mapping[str, Node], findings: Findings) -> Node:
    dead = [name for name, link in node.links.items() if link.node not in nodes]
    if not dead:
        return node
    for name in dead:
        findings.warn("dangling_link", "its source is not in the graph", node_id=node.id, input_name=name)
    return Node(
        node.id, node.class_type, {k: v for k, v in node.inputs.items() if k not in dead}, node.title, node.meta
    )
