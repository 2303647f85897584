"""Group nodes (the predecessor of subgraphs, until 2025) -> their inside. Ids become "INSTANCE:INDEX".

An instance's type is "workflow/NAME" or "workflow>NAME"; extra.groupNodes[NAME] holds inner nodes, their links as
[source index, slot, target index, slot, ...] and the outputs that are also used outside. The instance shows, inner node
by inner node, every input that is not fed inside, every output that is not consumed inside, and the widgets. Names that
come twice get the inner node's title in front; config renames and hides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphs.node import CONTROL_WORDS, Input
from graphs.reading import virtual_nodes
from graphs.reading.fields import slot_index, slot_type
from graphs.reading.findings import Findings, brief
from graphs.reading.ui_format import input_slots
from graphs.reading.ui_graph import Definition, Document, UiGraph, UiLink, UiNode
from graphs.reading.widget_list import SEEDS, Widget, widgets_of
from graphs.reading.widget_walk import walk
from graphs.reading.widgets import by_listed_inputs
from graphs.schemas import Schemas

Json = Any


@dataclass(slots=True)
class Group:
    """A group node's definition. fed: (inner index, input slot) -> (inner index, output slot) of its inner link."""

    name: str
    nodes: list[UiNode]
    fed: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    types: dict[tuple[int, int], str] = field(default_factory=dict)  # of inner links, by their target
    external: set[tuple[int, int]] = field(default_factory=set)
    config: Mapping[str, Json] = field(default_factory=dict)

    def settings(self, index: int, side: str, name: str) -> Mapping[str, Json]:
        """config of one inner input or output: {"name": shown name, "visible": bool}."""
        entry: Json = self.config
        for key in (str(index), side, name):
            entry = entry.get(key) if isinstance(entry, Mapping) else None
        return entry if isinstance(entry, Mapping) else {}


def expand_group_nodes(document: Document, schemas: Schemas, findings: Findings) -> None:
    """Turn every active group node of the document into a subgraph instance, for `flatten` to unfold."""
    graphs = [document.graph, *(d.graph for d in document.definitions.values())]
    for graph in graphs:
        for node in list(graph.nodes.values()):
            name = group_name(node.type)
            if name is None or name not in document.group_nodes or not node.active:
                continue
            group = _group(name, document.group_nodes[name], node, findings)
            if group is not None:
                definition = _definition(group, node, schemas, findings)
                document.definitions[definition.id] = definition
                graph.nodes[node.id] = replace(node, type=definition.id, values=None, named=None)


def group_name(type: str) -> str | None:
    """The name of the group that a node type refers to; None when it is no group node."""
    return type[len("workflow/") :] if type.startswith(("workflow/", "workflow>")) else None


def _group(name: str, entry: Json, instance: UiNode, findings: Findings) -> Group | None:
    inner = entry.get("nodes") if isinstance(entry, Mapping) else None
    if not isinstance(inner, list) or not all(isinstance(n, Mapping) and isinstance(n.get("type"), str) for n in inner):
        findings.problem(
            "bad_group_node",
            f"the definition of group node {name[:60]!r} cannot be read",
            node_id=instance.id,
            class_type=instance.type,
            got=brief(entry),
        )
        return None
    group = Group(name, [_inner_node(n, i, findings) for i, n in enumerate(inner)])
    config = entry.get("config")
    group.config = config if isinstance(config, Mapping) else {}
    links = entry.get("links")
    for link in links if isinstance(links, list) else ():
        if not isinstance(link, list) or len(link) < 4 or link[0] is None or link[2] is None:
            continue  # a link of the place where the group was made
        source, out, target, slot = (slot_index(v) for v in link[:4])
        if source is None or out is None or target is None or slot is None or max(source, target) >= len(inner):
            findings.problem(
                "bad_link", f"a link of group node {name[:60]!r} cannot be read", node_id=instance.id, got=brief(link)
            )
            continue
        group.fed[(target, slot)] = (source, out)
        group.types[(target, slot)] = slot_type(link[5] if len(link) > 5 else None)
    external = entry.get("external")
    for item in external if isinstance(external, list) else ():
        if isinstance(item, list) and len(item) >= 2:
            node = item[0].get("index") if isinstance(item[0], Mapping) else item[0]
            index, out = slot_index(node), slot_index(item[1])
            if index is not None and out is not None:
                group.external.add((index, out))
    return group


def _inner_node(entry: Mapping[str, Json], index: int, findings: Findings) -> UiNode:
    title, mode, outputs = entry.get("title"), entry.get("mode"), entry.get("outputs")
    properties = entry.get("properties")
    listed = outputs if isinstance(outputs, list) else []
    return UiNode(
        id=str(index),
        type=entry["type"],
        mode=mode if isinstance(mode, int) else 0,
        inputs=list(input_slots(entry.get("inputs"), str(index), entry["type"], findings)),
        outputs=[(str(o.get("name", "")), slot_type(o.get("type"))) for o in listed if isinstance(o, Mapping)],
        values=entry.get("widgets_values"),
        properties=properties if isinstance(properties, Mapping) else {},
        title=title if isinstance(title, str) else None,
    )


def _definition(group: Group, instance: UiNode, schemas: Schemas, findings: Findings) -> Definition:
    """The group as a subgraph definition of this one instance: its ends and the instance's values inside."""
    graph = UiGraph()
    for node in group.nodes:
        inputs = [replace(slot, link=None) for slot in node.inputs]
        graph.nodes[node.id] = replace(node, inputs=inputs, overrides={})
    for (target, slot), (source, out) in group.fed.items():
        if slot < len(graph.nodes[str(target)].inputs):
            key = f"{target}.{slot}"
            graph.links[key] = UiLink(str(source), out, str(target), slot, group.types[(target, slot)])
            graph.nodes[str(target)].inputs[slot].link = key
    ends = list(_open_inputs(group, schemas))
    definition = Definition(f"group:{instance.type}:{instance.id}", group.name, [], [], graph)
    for k, (name, index, slot) in enumerate(ends):
        definition.inputs.append((name, group.nodes[index].inputs[slot].type))
        key = f"in.{k}"
        graph.links[key] = UiLink("-10", k, str(index), slot, "*")
        graph.nodes[str(index)].inputs[slot].link = key
    for k, (name, type_, index, out) in enumerate(_open_outputs(group)):
        definition.outputs.append((name, type_))
        graph.links[f"out.{k}"] = UiLink(str(index), out, "-20", k, type_)
    _set_values(group, graph, instance, schemas, findings)
    return definition


def _open_inputs(group: Group, schemas: Schemas) -> Iterator[tuple[str, int, int]]:
    """(shown name, inner index, slot) of every inner input slot that nothing inside feeds.

    Plain slots of an inner node come first, then its widgets that were converted to slots.
    """
    seen: dict[str, int] = {}
    for index, node in enumerate(group.nodes):
        if node.type in virtual_nodes.NOTES:
            continue
        order = [s for s in range(len(node.inputs)) if node.inputs[s].widget is None]
        order += [s for s in range(len(node.inputs)) if node.inputs[s].widget is not None]
        for slot in order:
            if (index, slot) not in group.fed:
                name = node.inputs[slot].name
                if node.type in virtual_nodes.REROUTES:
                    name = _reroute_type(group, index)
                yield _shown(group, index, node, name, node.inputs[slot].label, seen), index, slot


def _reroute_type(group: Group, index: int) -> str:
    """A reroute's input is named after the type of what it feeds."""
    return next((group.types[end] for end, source in group.fed.items() if source[0] == index), "*")


def _shown(group: Group, index: int, node: UiNode, name: str, label: str | None, seen: dict[str, int]) -> str:
    shown = group.settings(index, "input", name).get("name")
    key = result = shown if isinstance(shown, str) else label or name
    if (node.type == "PrimitiveNode" and node.title) or result in seen:
        prefix = f"{node.title or node.type} "
        key = result = f"{prefix}{name}"
        if result in seen:
            result = f"{prefix}{seen[result]} {name}"
    seen[key] = seen.get(key, 1) + 1
    return result


def _open_outputs(group: Group) -> Iterator[tuple[str, str, int, int]]:
    """(name, type, inner index, slot) of every inner output that is not consumed inside, or also outside."""
    inside = set(group.fed.values())
    for index, node in enumerate(group.nodes):
        for out, (name, type_) in enumerate(node.outputs):
            hidden = group.settings(index, "output", str(out)).get("visible") is False
            if ((index, out) not in inside or (index, out) in group.external) and not hidden:
                yield name, type_, index, out


def _set_values(group: Group, graph: UiGraph, instance: UiNode, schemas: Schemas, findings: Findings) -> None:
    """Deal the instance's widget values out to the inner nodes, in their order."""
    values = instance.values
    if not isinstance(values, list) or not values:
        return  # the inner nodes' own values hold
    for converted in (False, True):
        dealt = _deal(group, values, schemas, converted)
        if dealt is not None:
            for index, named in dealt.items():
                node = graph.nodes[str(index)]
                if node.type == "PrimitiveNode":
                    node.values = [named["value"]]
                else:
                    node.overrides.update(named)
            return
    findings.problem(
        "ambiguous_widgets",
        f"the values of group node {group.name[:60]!r} do not fit the widgets inside it",
        node_id=instance.id,
        class_type=instance.type,
        got=", ".join(brief(v, 24) for v in values)[:200],
        hint="open and save the workflow in a newer ComfyUI, which turns group nodes into subgraphs",
    )


def _deal(group: Group, values: list[Json], schemas: Schemas, converted: bool) -> dict[int, dict[str, Json]] | None:
    """Inner index -> widget name -> value, if all values are used and fit.

    converted: inner widgets that the file lists as inputs are slots of the group, no widgets (front ends before 1.16).
    """
    dealt: dict[int, dict[str, Json]] = {}
    widgets: list[Widget] = []
    owners: dict[str, tuple[int, str]] = {}
    for index, node in enumerate(group.nodes):
        taken = {s.widget for k, s in enumerate(node.inputs) if s.widget and (converted or (index, k) in group.fed)}
        for widget in _inner_widgets(group, index, schemas):
            input = widget.input
            if input.name in taken:
                continue
            alias = f"{index}\0{input.name}"
            owners[alias] = (index, input.name)
            control = input.control_after_generate or input.name in SEEDS  # the alias hides the seed's name
            widgets.append(replace(widget, input=replace(input, name=alias, control_after_generate=control)))
    result = walk(widgets, values)
    if not result.whole or result.poor:
        return None
    for alias, value in result.values.items():
        index, name = owners[alias] if alias in owners else (int(alias.partition("\0")[0]), alias.partition("\0")[2])
        dealt.setdefault(index, {})[name] = value
    return dealt


def _inner_widgets(group: Group, index: int, schemas: Schemas) -> list[Widget]:
    node = group.nodes[index]
    if node.type == "PrimitiveNode":
        type_ = next((group.types[end] for end, source in group.fed.items() if source[0] == index), None)
        if type_ is None:
            return []
        control = isinstance(node.values, list) and len(node.values) > 1 and node.values[1] in CONTROL_WORDS
        return [Widget(Input("value", type_, control_after_generate=control))]
    schema = schemas.lookup(node.type)
    values = node.values if isinstance(node.values, list) else []
    if schema is None:
        return [Widget(Input(name, "*")) for name in by_listed_inputs(node, values) or ()]
    widgets = widgets_of(schema)
    # The definition is as old as its instances: widgets that it holds no value for did not exist then.
    stored = walk(widgets, values)
    return [w for w in widgets if w.name not in stored.missing] if values and not stored.bad else widgets
