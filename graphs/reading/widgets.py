"""widgets_values of a node -> its widget values by name.

The list is positional: the values of the node's widgets in the order of the schema, with widgets in between that no
schema knows (the seed's after-run control, upload buttons). Which of them a file has depends on the age of the front
end that wrote it. Rules, in order:

1. widgets_values_named names every value. 2. An object names its values too.
3. Walk the schema and consume values; a control slot is consumed only where the next value is a control word, or a
   boolean right after a seed (early 2023). Every walk that fits is a candidate; also the one in which inputs without
   widget (forceInput) left dummy values (front ends before 1.16).
4. A walk that consumes everything, and in which every value fits its type, wins. Then one that leaves the last widgets
   of the schema unset (the node gained them later), then one that leaves values over (the node lost widgets).
5. Otherwise the widgets that the file itself lists as inputs name the values, if they are exactly as many.
6. Otherwise the values are not guessed: one problem names the node and what was tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from graphs.definition import NodeDef
from graphs.dynamic_inputs import DYNAMIC_COMBO, combo_members
from graphs.node import BROWSER_WIDGETS, CONTROL_WORDS, WIDGET_TYPES, Input
from graphs.reading.findings import Findings, brief
from graphs.reading.ui_graph import UiNode
from graphs.reading.widget_fit import BAD, STRONG, WEAK, fit

Json = Any

SEEDS = frozenset({"seed", "noise_seed"})
# Widgets that belong to no input of the server: never part of the API form.
PSEUDO = frozenset(
    {"control_after_generate", "control_filter_list", "upload", "choose file to upload", "videopreview", "audioUI"}
)
_TRIVIAL = (None, "", "image", "audio", "video", "file")
_BUTTONS = ("upload3dmodel", "uploadExtraResources", "clear")  # stand right after a 3D file's widget
MAX_WALKS = 64


@dataclass(slots=True)
class Walk:
    """One way to read the list. weak: values that fit only loosely; bad: values that do not fit their input's type."""

    values: dict[str, Json] = field(default_factory=dict)
    weak: int = 0
    bad: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left: list[Json] = field(default_factory=list)
    choices: int = 0  # places where a control value could be consumed

    @property
    def whole(self) -> bool:
        return not (self.bad or self.missing or self.left)


def widget_values(node: UiNode, schema: NodeDef | None, findings: Findings) -> dict[str, Json] | None:
    """Widget name -> value; None (and a problem) when the values cannot be named for certain."""
    if node.named is not None:
        return _named(node.named, node, schema)
    if isinstance(node.values, Mapping):
        return _named(node.values, node, schema)
    values = [] if node.values is None else node.values
    if not isinstance(values, list):
        findings.problem(
            "bad_node", "widgets_values is no list", node_id=node.id, class_type=node.type, got=brief(values)
        )
        return None
    if schema is None:
        return _without_schema(node, values, findings)
    return _by_schema(node, schema, values, findings)


def has_names(node: UiNode) -> bool:
    """Whether the file itself names the widget values of the node, so that no schema is needed."""
    if node.named is not None or not isinstance(node.values, list):
        return True
    return by_listed_inputs(node, node.values) is not None


def _named(values: Mapping[str, Json], node: UiNode, schema: NodeDef | None) -> dict[str, Json]:
    """Values that the file names itself. With a schema only its inputs: browser widgets are named there too."""
    if schema is None:
        return {k: v for k, v in values.items() if k not in PSEUDO}
    listed = {slot.widget for slot in node.inputs}
    known = {i.name for i in schema.inputs if not i.hidden}
    return {k: v for k, v in values.items() if (k in known or k in listed or k.partition(".")[0] in known)}


def _by_schema(node: UiNode, schema: NodeDef, values: list[Json], findings: Findings) -> dict[str, Json] | None:
    linked = frozenset(slot.name for slot in node.inputs if slot.link is not None)
    slots = [i for i in schema.inputs if not i.hidden and is_browser_widget(i)]
    first = walk(slots, values, linked)
    if first.whole:
        return first.values
    found = [first, *_other_walks(schema, slots, values, linked, first)]
    for kind in (
        [w for w in found if w.whole],
        [w for w in found if not w.bad and not w.left],
    ):
        if kind:
            return _accept(min(kind, key=lambda w: (len(w.missing), w.weak)), node, findings)
    listed = by_listed_inputs(node, values)
    if listed is not None:
        findings.warn(
            "other_widgets",
            "the file lists other widgets than the schema we know; the file's names are used",
            node_id=node.id,
            class_type=node.type,
            hint="give the schemas of your server with --object-info FILE",
        )
        return listed
    aligned = _align(slots, values, linked)
    if aligned is not None:
        return _accept(aligned, node, findings)
    rest = [w for w in found if not w.bad]
    if rest:
        return _accept(min(rest, key=lambda w: (len(w.left), w.weak)), node, findings)
    names = ", ".join(i.name for i in slots)
    findings.problem(
        "ambiguous_widgets",
        "its widget values do not fit the schema we know, so they cannot be named",
        node_id=node.id,
        class_type=node.type,
        input_name=first.bad[0],
        expected=f"values of {names[:200]}",
        got=", ".join(brief(v, 24) for v in values)[:200],
        hint="open and save the workflow in a newer ComfyUI, or give your server's schemas with --object-info FILE",
    )
    return None


def _accept(chosen: Walk, node: UiNode, findings: Findings) -> dict[str, Json]:
    if chosen.missing:
        findings.warn(
            "widgets_missing",
            f"the file is older than the schema and holds no value for {', '.join(chosen.missing)[:200]}",
            node_id=node.id,
            class_type=node.type,
        )
    if chosen.left:
        findings.warn(
            "widgets_left",
            f"{len(chosen.left)} widget values belong to no input of the schema and are dropped",
            node_id=node.id,
            class_type=node.type,
            got=", ".join(brief(v, 24) for v in chosen.left)[:200],
        )
    return chosen.values


def is_browser_widget(input: Input) -> bool:
    """Whether the front end makes a widget, with a place in widgets_values, for this input."""
    if input.force_input:
        return False
    return input.type in WIDGET_TYPES or input.type in BROWSER_WIDGETS or input.type == DYNAMIC_COMBO


def walk(slots: list[Input], values: list[Json], linked: frozenset[str] = frozenset(), skip: int = 0) -> Walk:
    """Consume the values along the widgets of a schema.

    skip: bit k set leaves the k-th possible control value where it is, for the next widget.
    """
    result, rest, at = Walk(), list(reversed(slots)), 0
    while rest:
        slot = rest.pop()
        if at >= len(values):
            result.missing.append(slot.name)
            continue
        value = values[at]
        at += 1
        result.values[slot.name] = value
        quality = STRONG if slot.name in linked else fit(value, slot)
        if quality == BAD:
            result.bad.append(slot.name)
        result.weak += quality == WEAK
        if slot.type == DYNAMIC_COMBO:
            rest.extend(reversed([i for i in combo_members(slot, value) if is_browser_widget(i)]))
        while slot.upload and at < len(values) and values[at] in _BUTTONS:
            at += 1
        if at < len(values) and _takes_control(slot, values[at]):
            if not skip >> result.choices & 1:
                at += 1
            result.choices += 1
    result.left = [v for v in values[at:] if not (isinstance(v, str | None) and v in _TRIVIAL)]
    return result


def _takes_control(slot: Input, value: Json) -> bool:
    seed = slot.type == "INT" and slot.name in SEEDS
    if isinstance(value, bool):
        return seed  # 2023: whether to draw a new seed after each run
    return (seed or slot.control_after_generate) and isinstance(value, str) and value in CONTROL_WORDS


def _other_walks(
    schema: NodeDef, slots: list[Input], values: list[Json], linked: frozenset[str], first: Walk
) -> Iterator[Walk]:
    for skip in range(1, min(1 << first.choices, MAX_WALKS)):
        yield walk(slots, values, linked, skip)
    forced = [i for i in schema.inputs if not i.hidden and (is_browser_widget(i) or i.force_input)]
    if len(forced) > len(slots):
        dummies = {i.name for i in forced if i.force_input}
        for skip in range(min(1 << first.choices, MAX_WALKS)):
            with_dummies = walk(forced, values, linked | dummies, skip)
            with_dummies.values = {k: v for k, v in with_dummies.values.items() if k not in dummies}
            if with_dummies.whole:
                yield with_dummies


def _align(slots: list[Input], values: list[Json], linked: frozenset[str]) -> Walk | None:
    """The only way to leave some widgets of the schema unset so that every value fits strongly; None without or two."""
    found: list[Walk] = []
    absent = len(slots) - len(values)
    if not 0 < absent <= 4 or len(slots) > 40:
        return None
    for gaps in combinations(range(len(slots)), absent):
        kept = [slot for k, slot in enumerate(slots) if k not in gaps]
        way = walk(kept, values, linked)
        if way.whole and not way.weak:
            way.missing = [slots[k].name for k in gaps]
            found.append(way)
            if len(found) > 1:
                return None
    return found[0] if found else None


def by_listed_inputs(node: UiNode, values: Sequence[Json]) -> dict[str, Json] | None:
    """Names from the widgets that the node lists among its inputs, if values and control words come out even."""
    listed = [slot for slot in node.inputs if slot.widget is not None]
    named: dict[str, Json] = {}
    at = 0
    for k, slot in enumerate(listed):
        if at >= len(values):
            return None
        named[slot.widget or ""] = values[at]
        at += 1
        spare = len(values) - at - (len(listed) - k - 1)
        if spare > 0 and isinstance(values[at], str) and values[at] in CONTROL_WORDS:
            at += 1
    return named if at == len(values) and len(named) == len(listed) else None


def _without_schema(node: UiNode, values: list[Json], findings: Findings) -> dict[str, Json] | None:
    named = by_listed_inputs(node, values)
    if named is None and all(v is None for v in values):
        named = {}
    if named is None:
        findings.problem(
            "missing_node_type",
            f"the class is unknown, so its {len(values)} widget values cannot be named",
            node_id=node.id,
            class_type=node.type,
            got=", ".join(brief(v, 24) for v in values)[:200],
            hint="give its schema with --object-info FILE (the answer of http://HOST:8188/object_info), "
            "or export the workflow with Export (API)",
        )
    return named
