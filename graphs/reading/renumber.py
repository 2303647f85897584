"""Node ids that occur twice in a file get new ones, as the front end gives them when it loads the file.

Ids of the root stay. Through the subgraph definitions in file order, and the nodes of each in order, an id that is in
use already becomes the last id plus one; the last id starts at last_node_id and is raised by every id that is met.
Links and promoted widgets follow. Of two equal ids in one definition the first node stays and the second is left out;
of two in the root the second gets a new id.
"""

from __future__ import annotations

from graphs.reading.findings import Findings
from graphs.reading.ui_graph import Definition, Document, UiNode


def renumber(document: Document, findings: Findings) -> None:
    """Give every node of the document an id of its own. Ids that are no numbers stay as they are."""
    used = {_number(id) for id in document.graph.nodes}
    last = document.last_node_id
    renamed: dict[str, dict[str, str]] = {}
    for definition in document.definitions.values():
        changes: dict[str, str] = {}
        for id in definition.graph.nodes:
            number = _number(id)
            if number is None:
                continue
            if number in used:
                number = _free(last, used)
                changes[id] = str(number)
            used.add(number)
            last = max(last, number)
        if changes:
            renamed[definition.id] = changes
            _rename(definition, changes)
        for twin in definition.graph.twins:
            findings.warn("duplicate_node_id", "a second node of this id is left out", node_id=twin.id)
    _rename_promoted(document, renamed)
    for id in document.graph.nodes:
        last = max(last, _number(id) or 0)
    for twin in document.graph.twins:
        last = _free(last, used)
        used.add(last)
        message = f"two nodes have this id; the second is node {last} here"
        findings.warn("duplicate_node_id", message, node_id=twin.id, class_type=twin.type)
        twin.id = str(last)
        document.graph.nodes[twin.id] = twin


def _number(id: str) -> int | None:
    return int(id) if id.isascii() and id.isdigit() and len(id) < 16 else None


def _free(last: int, used: set[int | None]) -> int:
    """The first number behind `last` that is not in use."""
    last += 1
    while last in used:
        last += 1
    return last


def _rename(definition: Definition, changes: dict[str, str]) -> None:
    graph = definition.graph
    nodes: dict[str, UiNode] = {}
    for node in graph.nodes.values():
        node.id = changes.get(node.id, node.id)
        nodes[node.id] = node
    graph.nodes = nodes
    for link in graph.links.values():
        link.origin = changes.get(link.origin, link.origin)
        link.target = changes.get(link.target, link.target)


def _rename_promoted(document: Document, renamed: dict[str, dict[str, str]]) -> None:
    for graph in (document.graph, *(d.graph for d in document.definitions.values())):
        for node in graph.nodes.values():
            changes = renamed.get(node.type)
            if changes and node.proxies:
                node.proxies = [(changes.get(inner, inner), widget) for inner, widget in node.proxies]
