"""UI (litegraph) JSON, versions 0.4 and 1, -> Document. Every field is checked, and all faults are listed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from graphs.errors import WorkflowError
from graphs.reading.api_format import MAX_ID
from graphs.reading.fields import id_text, mapping, slot_index, slot_type
from graphs.reading.findings import Findings, brief
from graphs.reading.json_text import parse_json
from graphs.reading.ui_graph import Definition, Document, UiGraph, UiInput, UiLink, UiNode

Json = Any

MAX_NODES = 200_000  # in one file, and again after flattening
_ENVELOPES = ("workflow", "graph", "extra_pnginfo", "extra_data")


def find_ui(obj: Json, depth: int = 4) -> Mapping[str, Json] | None:
    """The object with the list of nodes in obj or in one of its envelopes; None without one."""
    if not isinstance(obj, Mapping) or depth == 0:
        return None
    if isinstance(obj.get("nodes"), list):
        return obj
    return next((found for key in _ENVELOPES if (found := find_ui(obj.get(key), depth - 1))), None)


def parse_document(ui: Mapping[str, Json], findings: Findings) -> Document:
    """Normalise one UI file. Faults go to findings; what can be read is returned all the same."""
    extra = mapping(ui.get("extra"))
    document = Document(graph=_graph(ui, "", findings))
    last = slot_index(ui.get("last_node_id"))
    document.last_node_id = last if last is not None else slot_index(mapping(ui.get("state")).get("lastNodeId")) or 0
    for entry in _definitions(ui, findings):
        document.definitions[entry.id] = entry
    groups = extra.get("groupNodes")
    document.group_nodes = groups if isinstance(groups, Mapping) else {}
    ue_links = extra.get("ue_links")
    if isinstance(ue_links, list):
        document.everywhere = [link for link in ue_links if isinstance(link, Mapping)]
    return document


def _definitions(ui: Mapping[str, Json], findings: Findings) -> Iterator[Definition]:
    """All subgraph definitions; nested ones are flat at the root in practice, but the format allows them inside."""
    pending: list[Json] = [ui]
    count = 0
    while pending:
        listed = mapping(pending.pop().get("definitions")).get("subgraphs") or []
        if not isinstance(listed, list):
            findings.problem("bad_subgraph", "definitions.subgraphs is no list", got=brief(listed))
            continue
        for entry in listed:
            count += 1
            if count > MAX_NODES:
                findings.problem("too_large", f"the file has more than {MAX_NODES} subgraph definitions")
                return
            id = id_text(entry.get("id")) if isinstance(entry, Mapping) else None
            if id is None:
                findings.problem("bad_subgraph", "a subgraph definition has no id", got=brief(entry))
                continue
            pending.append(entry)
            yield Definition(
                id=id,
                name=str(entry.get("name") or id)[:200],
                inputs=_ends(entry.get("inputs")),
                outputs=_ends(entry.get("outputs")),
                graph=_graph(entry, f"{id}:", findings),
                links_of=_links_of(entry.get("inputs")),
            )


def _ends(slots: Json) -> list[tuple[str, str]]:
    listed = slots if isinstance(slots, list) else []
    return [(str(s.get("name", "")), slot_type(s.get("type"))) for s in listed if isinstance(s, Mapping)]


def _links_of(slots: Json) -> dict[int, list[str]]:
    """linkIds of a definition's inputs."""
    listed = [s for s in slots if isinstance(s, Mapping)] if isinstance(slots, list) else []
    found: dict[int, list[str]] = {}
    for k, slot in enumerate(listed):
        ids = slot.get("linkIds")
        found[k] = [i for i in map(id_text, ids) if i is not None] if isinstance(ids, list) else []
    return found


def _graph(ui: Mapping[str, Json], where: str, findings: Findings) -> UiGraph:
    graph = UiGraph()
    nodes = ui.get("nodes")
    if not isinstance(nodes, list):
        findings.problem("bad_workflow", f"{where or 'the workflow'} has no list of nodes", got=brief(nodes))
        return graph
    if len(nodes) > MAX_NODES:
        findings.problem("too_large", f"the file has {len(nodes)} nodes; the limit is {MAX_NODES}")
        return graph
    for i, entry in enumerate(nodes):
        node = _node(entry, f"{where}#{i}", findings)
        if node is None:
            continue
        if node.id in graph.nodes:
            graph.twins.append(node)
        else:
            graph.nodes[node.id] = node
    links = ui.get("links")
    if links is not None and not isinstance(links, list | dict):
        findings.problem("bad_workflow", f"'links' of {where or 'the workflow'} is no list", got=brief(links))
    for entry in (links.values() if isinstance(links, dict) else links) if isinstance(links, list | dict) else ():
        if entry is not None:  # holes are left where links were deleted
            _add_link(graph, entry, where, findings)
    return graph


def _node(entry: Json, where: str, findings: Findings) -> UiNode | None:
    if not isinstance(entry, Mapping):
        findings.problem("bad_node", f"node {where} is no object", got=brief(entry))
        return None
    id, type_ = id_text(entry.get("id")), entry.get("type")
    if id is None:
        findings.problem("bad_node_id", f"node {where} has no usable id", got=brief(entry.get("id")))
        return None
    if not isinstance(type_, str) or len(type_) > MAX_ID:
        findings.problem("bad_node", "the node has no class name", node_id=id, expected="a text", got=brief(type_))
        return None
    mode = entry.get("mode", 0)
    named = entry.get("widgets_values_named")
    title = entry.get("title")
    outputs = entry.get("outputs")
    properties = mapping(entry.get("properties"))
    return UiNode(
        id=id,
        type=type_,
        mode=mode if isinstance(mode, int) else 0,
        inputs=list(input_slots(entry.get("inputs"), id, type_, findings)),
        outputs=_ends(outputs),
        values=entry.get("widgets_values"),
        named=named if isinstance(named, Mapping) else None,
        properties=properties,
        title=title if isinstance(title, str) else None,
        proxies=_proxies(properties.get("proxyWidgets")),
    )


def _proxies(entries: Json) -> list[tuple[str, str]] | None:
    """proxyWidgets as (inner node id, widget name), also where the list was written as JSON text. None: no list."""
    if isinstance(entries, str):
        try:
            entries = parse_json(entries)
        except WorkflowError:
            return None
    if not isinstance(entries, list):
        return None
    pairs = []
    for entry in entries:
        whole = isinstance(entry, list) and len(entry) >= 2 and isinstance(entry[1], str)
        # An entry that cannot be read keeps its place: values are counted along the list.
        pairs.append((str(entry[0])[:MAX_ID], _PREFIX.sub("", entry[1])) if whole else ("", "$$"))
    return pairs


_PREFIX = re.compile(r"^-?\d+: ")  # older front ends wrote "12: seed"


def input_slots(listed: Json, node_id: str, class_type: str, findings: Findings) -> Iterator[UiInput]:
    """The inputs of a node. One that cannot be read stays as an empty slot: slots are counted."""
    if isinstance(listed, Mapping):  # {"0": ..., "1": ...}, as some serialisers write arrays
        listed = list(listed.values())
    if listed is None:
        return
    if not isinstance(listed, list):
        findings.problem("bad_node", "'inputs' is no list", node_id=node_id, class_type=class_type, got=brief(listed))
        return
    for slot in listed:
        if not isinstance(slot, Mapping):
            yield UiInput("", "*")
            continue
        widget = slot.get("widget")
        name = widget.get("name") if isinstance(widget, Mapping) else None
        label = slot.get("label")
        yield UiInput(
            name=str(slot.get("name", "")),
            type=slot_type(slot.get("type")),
            link=id_text(slot.get("link")),
            widget=name if isinstance(name, str) else None,
            label=label if isinstance(label, str) else None,
        )


def _add_link(graph: UiGraph, entry: Json, where: str, findings: Findings) -> None:
    if isinstance(entry, Mapping):
        fields = [entry.get(k) for k in ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")]
    elif isinstance(entry, list) and len(entry) >= 5:
        fields = [*entry[:5], entry[5] if len(entry) > 5 else "*"]
    else:
        findings.problem("bad_link", f"a link of {where or 'the workflow'} cannot be read", got=brief(entry))
        return
    id, origin, target = id_text(fields[0]), id_text(fields[1]), id_text(fields[3])
    slot, target_slot = slot_index(fields[2]), slot_index(fields[4])
    if id is None or origin is None or slot is None:
        findings.problem(
            "bad_link",
            f"link {brief(fields[0])} of {where or 'the workflow'} cannot be read",
            expected="[id, source node, source slot, target node, target slot, type]",
            got=", ".join(brief(f, 20) for f in fields),
        )
        return
    graph.links[id] = UiLink(
        origin, slot, target or "", -1 if target_slot is None else target_slot, slot_type(fields[5])
    )
