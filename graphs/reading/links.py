"""Follow a link to what really produces its value: through reroutes, set/get pairs, subgraph ends and bypassed nodes.

Rules: a muted source gives nothing, also a muted virtual node. A bypassed node hands on one of its inputs
(`bypass_slot`). Virtual nodes hand on the input of the same index. A PrimitiveNode gives a value instead of a link, but
not into a subgraph: there the value of the widget inside holds, as in the front end. An input of a subgraph that is not
linked gives the value that the instance holds for it, else that of the first widget that it feeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphs.node import Link
from graphs.reading import virtual_nodes
from graphs.reading.findings import Findings
from graphs.reading.ui_graph import INPUT_NODE, MUTED, End, Flat, UiInput, UiNode

Json = Any

MAX_STEPS = 500_000  # of all chains of one file together


@dataclass(frozen=True, slots=True)
class Value:
    """What a PrimitiveNode or an instance feeds into an input. rounded: to the widget's limits and step."""

    value: Json
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """Why a link leads nowhere."""

    type: str
    message: str


Outcome = Link | Value | Lost | None
OwnValue = Callable[[str, str], Json]  # (node id, widget) -> the stored value of that widget, None without


class Resolver:
    """Resolves the links of one flat graph. Chains share what they found, so that each is walked once a type."""

    def __init__(self, flat: Flat, findings: Findings, own_value: OwnValue) -> None:
        self._flat, self._findings, self._own = flat, findings, own_value
        self._setters = virtual_nodes.setters(flat.graph.nodes, findings)
        self._known: dict[tuple[str, str], Outcome] = {}  # (link, wanted type)
        self._ends: dict[End, Json] = {}
        self._steps = 0

    def source(self, consumer: UiNode, slot: UiInput) -> Link | Value | None:
        """What feeds this input: a link to a node that stays, a value, or None (with a warning)."""
        outcome = self._outcome(slot)
        if isinstance(outcome, Lost):
            self._findings.warn(
                outcome.type, outcome.message, node_id=consumer.id, class_type=consumer.type, input_name=slot.name
            )
            return None
        return outcome

    def _outcome(self, slot: UiInput) -> Outcome:
        key, path = slot.link, dict[str, None]()
        outcome: Outcome | str = None
        while key is not None:
            if key in path:
                outcome = Lost("link_loop", "the link runs in a circle through nodes that are resolved away")
                break
            path[key] = None
            known = self._known.get((key, slot.type), self)
            if known is not self:
                outcome = known  # type: ignore[assignment]
                break
            self._steps += 1
            if self._steps > MAX_STEPS:
                outcome = Lost("too_large", "the chains of this file are too long to follow")
                break
            outcome = self._step(key, slot.type, inside=len(path) > 1)
            if not isinstance(outcome, str):
                break
            key = outcome
        result: Outcome = None if isinstance(outcome, str) else outcome
        for passed in path:
            self._known[(passed, slot.type)] = result
        return result

    def _step(self, key: str, wanted: str, *, inside: bool) -> Outcome | str:
        """What a link starts at, or the next link on the way."""
        link = self._flat.graph.links.get(key)
        if link is None:
            return Lost("dangling_link", f"link {key[:40]} is not in the file; the input is left open")
        end = (link.origin, link.slot)
        if end in self._flat.through:
            following = self._flat.through[end]
            if following is not None or not link.origin.endswith(f":{INPUT_NODE}"):
                return self._into_instance(following) if link.origin.endswith(INPUT_NODE) else following
            value = self._end_value(end)
            return None if value is None else Value(value)
        origin = self._flat.graph.nodes.get(link.origin)
        if origin is None:
            return Lost("dangling_link", f"the link comes from node {link.origin[:40]}, which is not in the file")
        if origin.type not in virtual_nodes.VIRTUAL and origin.active:
            return Link(origin.id, link.slot)
        if origin.type in virtual_nodes.PRIMITIVES:
            held = virtual_nodes.primitive_value(origin)
            return Value(held[0], rounded=True) if held else None
        return self._next(origin, link.slot, wanted)

    def _into_instance(self, following: str | None) -> Outcome | str | None:
        """A link into a subgraph; from a PrimitiveNode it has no effect there."""
        link = self._flat.graph.links.get(following or "")
        origin = self._flat.graph.nodes.get(link.origin) if link is not None else None
        if origin is not None and origin.type in virtual_nodes.PRIMITIVES:
            return Lost(
                "primitive_dropped",
                f"node {origin.id} ({origin.type}) feeds a subgraph, which takes no value from it: the own one holds",
            )
        return following

    def _end_value(self, end: End) -> Json:
        """The value at an input of an instance that is not linked; None without."""
        if end not in self._ends:
            self._ends[end] = None  # definitions that contain themselves stop here
            value = self._flat.given.get(end)
            for fed in () if value is not None else self._flat.fed.get(end, ()):
                value = self._own(fed.node, fed.widget) if fed.end is None else self._end_value(fed.end)
                if value is not None:
                    break
            self._ends[end] = value
        return self._ends[end]

    def _next(self, origin: UiNode, out: int, wanted: str) -> Outcome | str | None:
        """The link that a node which does not stay hands on."""
        if origin.mode == MUTED:
            return Lost("muted_source", f"its source, node {origin.id} ({origin.type}), is muted")
        if origin.type in virtual_nodes.GETTERS:
            name = virtual_nodes.variable_name(origin)
            setter = self._setters.get(name) if name else None
            if setter is None:
                return Lost("missing_variable", f"no set node is named {(name or '')[:60]!r} (get node {origin.id})")
            return setter.inputs[0].link if setter.inputs else None
        if origin.type in virtual_nodes.VIRTUAL:
            index = out if out < len(origin.inputs) else 0
            return origin.inputs[index].link if origin.inputs else None
        self._steps += len(origin.inputs)
        chosen = bypass_slot(origin, out, wanted)
        if chosen is None:
            return Lost(
                "bypass_dropped",
                f"its source, node {origin.id} ({origin.type}), is bypassed and has no {wanted[:40]} input to hand on",
            )
        return origin.inputs[chosen].link


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
