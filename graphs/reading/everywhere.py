"""Use Everywhere: links that the extension makes in the browser.

Newer versions write them to extra.ue_links. In files of older ones only the broadcasting nodes are left: there each
input of an "Anything Everywhere" node sends its source to every open slot of that type. Variants that choose by name
patterns cannot be redone from such a file; they, and two senders of one type, are reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphs.reading.fields import id_text, slot_index, slot_type
from graphs.reading.findings import Findings
from graphs.reading.ui_graph import UiGraph, UiInput, UiLink, UiNode
from graphs.reading.virtual_nodes import EVERYWHERE, REROUTES, VIRTUAL

Json = Any

PLAIN = frozenset({"Anything Everywhere", "Anything Everywhere3"})


def add_everywhere_links(graph: UiGraph, entries: list[Mapping[str, Json]] | None, findings: Findings) -> None:
    """Connect each input that a broadcast feeds and that has no link of its own. entries: ue_links; None: not there."""
    if entries is None:
        _rebuild(graph, findings)
        return
    for i, entry in enumerate(entries):
        consumer, producer = id_text(entry.get("downstream")), id_text(entry.get("upstream"))
        slot, out = slot_index(entry.get("downstream_slot")), slot_index(entry.get("upstream_slot"))
        node = graph.nodes.get(consumer or "")
        if node is None or producer not in graph.nodes or slot is None or out is None or slot >= len(node.inputs):
            findings.warn("dangling_link", "a broadcast link of extra.ue_links has no such ends", node_id=consumer)
        elif node.inputs[slot].link is None:
            _connect(graph, f"everywhere:{i}", producer, out, node, slot, slot_type(entry.get("type")))


def _connect(graph: UiGraph, key: str, producer: str, out: int, node: UiNode, slot: int, type: str) -> None:
    graph.links[key] = UiLink(producer, out, node.id, slot, type)
    node.inputs[slot].link = key


def _rebuild(graph: UiGraph, findings: Findings) -> None:
    senders: dict[str, tuple[UiNode, UiLink]] = {}
    known: dict[str, str] = {}
    for node in graph.nodes.values():
        if node.type not in EVERYWHERE or not node.active:
            continue
        sent = list(_sent(graph, node, known))
        if sent and node.type not in PLAIN:
            findings.problem(
                "unknown_broadcast",
                "the file does not say which inputs this broadcast feeds",
                node_id=node.id,
                class_type=node.type,
                hint="open and save the workflow in a newer ComfyUI, or link the inputs",
            )
            continue
        for kind, link in sent:
            if kind in senders:
                findings.problem(
                    "ambiguous_broadcast",
                    f"two nodes broadcast {kind}; the other is node {senders[kind][0].id}",
                    node_id=node.id,
                    class_type=node.type,
                    hint="link the inputs that the second one feeds",
                )
            senders[kind] = (node, link)
    if senders:
        _send(graph, senders, findings)


def _sent(graph: UiGraph, node: UiNode, known: dict[str, str]) -> Iterator[tuple[str, UiLink]]:
    """(type, link) of what a broadcasting node takes."""
    for slot in node.inputs:
        link = graph.links.get(slot.link) if slot.link is not None else None
        if link is not None:
            yield _type_of(graph, link, known), link


def _type_of(graph: UiGraph, link: UiLink, known: dict[str, str]) -> str:
    """The type of a link's source, looked up behind reroutes. known: found so far, by reroute."""
    passed: list[str] = []
    while True:
        origin = graph.nodes.get(link.origin)
        behind = graph.links.get(origin.inputs[0].link or "") if origin and origin.inputs else None
        if origin is None or origin.type not in REROUTES or behind is None or origin.id in known:
            break
        known[origin.id] = link.type  # a ring of reroutes ends here
        passed.append(origin.id)
        link = behind
    if link.origin in known:
        found = known[link.origin]
    else:
        outputs = graph.nodes[link.origin].outputs if link.origin in graph.nodes else []
        found = outputs[link.slot][1] if link.slot < len(outputs) else link.type
    known.update(dict.fromkeys(passed, found))
    return found


def _send(graph: UiGraph, senders: Mapping[str, tuple[UiNode, UiLink]], findings: Findings) -> None:
    reached: dict[str, list[str]] = {}
    for node in graph.nodes.values():
        if node.type in VIRTUAL or not node.active:
            continue
        for k, slot in enumerate(node.inputs):
            if _is_open(slot) and slot.type in senders:
                sender, link = senders[slot.type]
                _connect(graph, f"everywhere:{node.id}:{k}", link.origin, link.slot, node, k, slot.type)
                reached.setdefault(sender.id, []).append(f"{node.id}.{slot.name}")
    for sender, _ in {node.id: (node, link) for node, link in senders.values()}.values():
        findings.warn(
            "broadcast",
            f"its broadcasts were linked to {', '.join(reached.get(sender.id, ['nothing']))[:300]}",
            node_id=sender.id,
            class_type=sender.type,
        )


def _is_open(slot: UiInput) -> bool:
    return slot.link is None and slot.widget is None
