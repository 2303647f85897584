"""Follow a link to what really produces its value: through reroutes, set/get pairs, subgraph ends and bypassed nodes.

Rules: a muted source gives nothing. A bypassed node hands on one of its inputs (`bypass_slot`). Virtual nodes hand on
the input of the same index, muted or not. A PrimitiveNode gives a value instead of a link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphs.node import Link
from graphs.reading import virtual_nodes
from graphs.reading.findings import Findings
from graphs.reading.ui_graph import MUTED, Flat, UiInput, UiNode

Json = Any


@dataclass(frozen=True, slots=True)
class Value:
    """What a PrimitiveNode feeds into the widget it is linked to."""

    value: Json


class Resolver:
    """Resolves the links of one flat graph."""

    def __init__(self, flat: Flat, findings: Findings) -> None:
        self._flat, self._findings = flat, findings
        self._setters = virtual_nodes.setters(flat.graph.nodes, findings)

    def source(self, consumer: UiNode, slot: UiInput) -> Link | Value | None:
        """What feeds this input: a link to a node that stays, a primitive's value, or None (with a warning)."""
        key, visited = slot.link, set[str]()
        while key is not None:
            if key in visited:
                self._warn(
                    consumer, slot, "link_loop", "the link runs in a circle through nodes that are resolved away"
                )
                return None
            visited.add(key)
            link = self._flat.graph.links.get(key)
            if link is None:
                self._warn(
                    consumer, slot, "dangling_link", f"link {key[:40]} is not in the file; the input is left open"
                )
                return None
            end = (link.origin, link.slot)
            if end in self._flat.through:
                key = self._flat.through[end]
                continue
            origin = self._flat.graph.nodes.get(link.origin)
            if origin is None:
                self._warn(
                    consumer,
                    slot,
                    "dangling_link",
                    f"the link comes from node {link.origin[:40]}, which is not in the file",
                )
                return None
            if origin.type not in virtual_nodes.VIRTUAL and origin.active:
                return Link(origin.id, link.slot)
            if origin.type in virtual_nodes.PRIMITIVES:
                value = virtual_nodes.primitive_value(origin)
                return Value(value[0]) if value else None
            key = self._next(consumer, slot, origin, link.slot)
        return None

    def _next(self, consumer: UiNode, slot: UiInput, origin: UiNode, out: int) -> str | None:
        """The link that a node which does not stay hands on."""
        if origin.type in virtual_nodes.GETTERS:
            name = virtual_nodes.variable_name(origin)
            setter = self._setters.get(name) if name else None
            if setter is None:
                self._warn(consumer, slot, "missing_variable", f"no set node is named {name!r} (get node {origin.id})")
                return None
            return setter.inputs[0].link if setter.inputs else None
        if origin.type in virtual_nodes.VIRTUAL:
            index = out if out < len(origin.inputs) else 0
            return origin.inputs[index].link if origin.inputs else None
        if origin.mode == MUTED:
            self._warn(consumer, slot, "muted_source", f"its source, node {origin.id} ({origin.type}), is muted")
            return None
        chosen = bypass_slot(origin, out, slot.type)
        if chosen is None:
            self._warn(
                consumer,
                slot,
                "bypass_dropped",
                f"its source, node {origin.id} ({origin.type}), is bypassed and has no {slot.type} input to hand on",
            )
            return None
        return origin.inputs[chosen].link

    def _warn(self, consumer: UiNode, slot: UiInput, type: str, message: str) -> None:
        self._findings.warn(type, message, node_id=consumer.id, class_type=consumer.type, input_name=slot.name)


def bypass_slot(node: UiNode, out: int, wanted: str) -> int | None:
    """Which input a bypassed node hands on at output slot `out` to a consumer of type `wanted`; None: none.

    Same index when its type fits output and consumer, else the first of exactly the consumer's type, else the first
    that fits both. A consumer that takes anything gets the same index, or the first.
    """
    inputs = node.inputs
    if not inputs:
        return None
    if wanted in ("*", ""):
        return out if out < len(inputs) else 0
    offered = node.outputs[out][1] if out < len(node.outputs) else "*"
    fits = [types_connect(i.type, offered) and types_connect(i.type, wanted) for i in inputs]
    if out < len(inputs) and fits[out]:
        return out
    exact = next((k for k, i in enumerate(inputs) if i.type == wanted), None)
    return exact if exact is not None else next((k for k, fit in enumerate(fits) if fit), None)


def types_connect(a: str, b: str) -> bool:
    """Whether slots of these types may be linked: wildcard, equal without case, or comma lists that meet."""
    if a in ("*", "") or b in ("*", "") or a == b:
        return True
    return not {t.strip().lower() for t in a.split(",")}.isdisjoint({t.strip().lower() for t in b.split(",")})
