"""Use Everywhere: links that the extension makes in the browser and that a file holds in extra.ue_links only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.reading.fields import id_text, slot_index, slot_type
from graphs.reading.findings import Findings
from graphs.reading.ui_graph import UiGraph, UiLink

Json = Any


def add_everywhere_links(graph: UiGraph, entries: list[Mapping[str, Json]], findings: Findings) -> None:
    """Connect each input that a broadcast feeds and that has no link of its own."""
    for i, entry in enumerate(entries):
        consumer, producer = id_text(entry.get("downstream")), id_text(entry.get("upstream"))
        slot, out = slot_index(entry.get("downstream_slot")), slot_index(entry.get("upstream_slot"))
        node = graph.nodes.get(consumer or "")
        if node is None or producer not in graph.nodes or slot is None or out is None or slot >= len(node.inputs):
            findings.warn("dangling_link", "a broadcast link of extra.ue_links has no such ends", node_id=consumer)
            continue
        if node.inputs[slot].link is None:
            key = f"everywhere:{i}"
            graph.links[key] = UiLink(producer, out, node.id, slot, slot_type(entry.get("type")))
            node.inputs[slot].link = key
