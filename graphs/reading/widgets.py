"""widgets_values of a node -> its widget values by name, as the front end would send them.

The list is positional: the values of the node's widgets in the order of the schema, with widgets in between that no
schema knows (the seed's after-run control, upload buttons). Which of them a file has depends on the age of the front
end that wrote it, and which widgets the class has on the age of the server. Rules, in order:

1. Walk the schema and consume values. A control word right after a widget that has the control is always consumed,
   unless it is also a choice of the next widget; a boolean right after a seed (early 2023) is consumed unless the next
   widget is a boolean. A walk that consumes everything, and in which every value fits its type, wins.
2. Else the walk that leaves the fewest doubts wins: other readings of those places, dummies for inputs without a widget
   (front ends before 1.16), the names that the file itself gives (widgets_values_named, or the widgets that it lists
   among the inputs, if they are exactly as many), the only way to leave widgets unset so that all values fit.
3. A widget for which the file holds no value gets the schema's default, as in the front end.
4. If no walk explains the values, they are not guessed: one problem names the node and what was tried. The same where
   a control word may be a combo's value as well and nothing tells which (control_words.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphs.definition import NodeDef
from graphs.dynamic_inputs import AUTOGROW, DYNAMIC_COMBO, DYNAMIC_GROUP
from graphs.node import CONTROL_WORDS
from graphs.reading.control_words import other_reading
from graphs.reading.custom_combo import custom_combo_values, with_index
from graphs.reading.findings import Findings, brief
from graphs.reading.ui_graph import UiNode
from graphs.reading.widget_default import UNKNOWN, default_of, settled
from graphs.reading.widget_fit import BAD, POOR, STRONG, WEAK, fit
from graphs.reading.widget_list import (
    CUSTOM_COMBO,
    Widget,
    dynamic_members,
    widget_type,
    widgets_of,
)
from graphs.reading.widget_walk import Walk, align, walk
from graphs.schemas import SERVER
from graphs.shipped_schemas import partner_classes

Json = Any

# Widgets that belong to no input of the server: never part of the API form.
PSEUDO = frozenset(
    {"control_after_generate", "control_filter_list", "upload", "choose file to upload", "videopreview", "audioUI"}
)
MAX_WALKS = 64
MAX_VALUES = 100_000  # of one node


def widget_values(node: UiNode, schema: NodeDef | None, findings: Findings) -> dict[str, Json] | None:
    """Widget name -> value; None (and a problem) when the values cannot be named for certain."""
    values = [] if node.values is None else node.values
    if isinstance(values, list) and len(values) <= MAX_VALUES:
        if schema is not None and schema.class_type == CUSTOM_COMBO and (values or not node.named):
            return with_index(custom_combo_values(values))
        if schema is not None:
            return _by_schema(node, schema, values, findings)
        return _without_schema(node, values, findings) if node.named is None else _unfiltered(node.named)
    if isinstance(values, Mapping):
        named = {**values, **(node.named or {})}
        if schema is None:
            return _unfiltered(named)
        return _finished(_by_names(named, widgets_of(schema, rows=_rows(node, schema))), node, findings)
    findings.problem(
        "bad_node", "widgets_values is no list", node_id=node.id, class_type=node.type, got=brief(node.values)
    )
    return None


def has_names(node: UiNode) -> bool:
    """Whether the file itself names the widget values of the node, so that no schema is needed."""
    if node.named is not None or not isinstance(node.values, list):
        return True
    return by_listed_inputs(node, node.values) is not None


def _unfiltered(values: Mapping[str, Json]) -> dict[str, Json]:
    return {k: v for k, v in values.items() if k not in PSEUDO}


def _by_schema(node: UiNode, schema: NodeDef, values: list[Json], findings: Findings) -> dict[str, Json] | None:
    linked = frozenset(slot.widget or slot.name for slot in node.inputs if slot.link is not None)
    widgets = widgets_of(schema, rows=_rows(node, schema))
    if not values and node.named:
        return _finished(_by_names(node.named, widgets), node, findings)
    first = walk(widgets, values, linked)
    if first.whole and first.doubts == (0, 0, 0):
        if node.named and not first.exact:
            named = _by_names(node.named, widgets)
            # An empty value at the end may be a button's, or the last of values that are all one off: the names tell.
            if not named.bad and any(first.values.get(k, v) != v for k, v in named.values.items()):
                return _finished(named, node, findings)
        return _told(first, node, values, linked, findings)
    found = [w for w in (first, *_other_walks(node, schema, widgets, values, linked, first)) if not w.bad]
    found = [w for w in found if not w.poor or (w.whole and not w.weak)]
    if found:
        return _told(min(found, key=lambda w: w.doubts), node, values, linked, findings)
    message = "its widget values do not fit the schema we know, so they cannot be named"
    _refuse(message, (first.bad or first.poor)[0], widgets, node, values, findings)
    return None


def _told(
    chosen: Walk, node: UiNode, values: list[Json], linked: frozenset[str], findings: Findings
) -> dict[str, Json] | None:
    """The values of a walk along the list, unless a control word in it may as well be a value, or the other way round.

    Where every widget has a value, their number tells, and the other reading is a warning.
    """
    named = node.named or by_listed_inputs(node, values)
    other = None if named else other_reading(chosen, values, linked)
    if other is not None and chosen.missing and other[1] <= len(chosen.missing):
        message = f"{brief(other[0])} among its widget values is a choice as well as what happens to a seed after a run"
        _refuse(message, chosen.missing[0], list(chosen.widgets.values()), node, values, findings)
        return None
    if other is not None and not chosen.missing and other[1] <= 1:
        findings.warn(
            "control_word",
            f"{brief(other[0])} among its widget values could be a choice or what happens to a seed after a run; "
            "the number of values tells which",
            node_id=node.id,
            class_type=node.type,
            got=", ".join(brief(v, 24) for v in values[:20])[:200],
        )
    return _finished(chosen, node, findings)


def _refuse(
    message: str, name: str, widgets: list[Widget], node: UiNode, values: list[Json], findings: Findings
) -> None:
    findings.problem(
        "ambiguous_widgets",
        message,
        node_id=node.id,
        class_type=node.type,
        input_name=name,
        expected=f"values of {', '.join(w.name for w in widgets)[:200]}",
        got=", ".join(brief(v, 24) for v in values[:20])[:200],
        hint="open and save the workflow in a newer ComfyUI, or give your server's schemas with --object-info FILE",
    )


def _rows(node: UiNode, schema: NodeDef) -> dict[str, int]:
    """Rows of the class's groups and growing inputs, by the names that the file gives ("loras.1.strength")."""
    counted: dict[str, int] = {}
    for group in (i.name for i in schema.inputs if widget_type(i) in (DYNAMIC_GROUP, AUTOGROW)):
        names = [*(slot.widget or slot.name for slot in node.inputs), *(node.named or ())]
        if isinstance(node.values, Mapping):
            names += node.values
        rows = [name.split(".")[1] for name in names if name.startswith(f"{group}.")]
        digits = [row[len(row.rstrip("0123456789")) :] for row in rows]
        numbers = [int(row) + 1 for row in digits if row and len(row) < 5]
        if numbers:
            counted[group] = max(numbers)
    return counted


def _other_walks(
    node: UiNode, schema: NodeDef, widgets: list[Widget], values: list[Json], linked: frozenset[str], first: Walk
) -> Iterator[Walk]:
    """Further readings, in the order in which they win when they leave equal doubts."""
    if node.named:
        yield _by_names(node.named, widgets)
    listed = by_listed_inputs(node, values)
    if listed is not None:
        yield _by_names(listed, widgets)
    for skip in range(1, min(1 << min(first.choices, 6), MAX_WALKS)):
        yield walk(widgets, values, linked, skip)
    forced = widgets_of(schema, forced=True)
    if len(forced) > len(widgets):
        for skip in range(min(1 << min(first.choices, 6), MAX_WALKS)):
            with_dummies = walk(forced, values, linked, skip)
            if with_dummies.whole:
                yield with_dummies
    aligned = align([w for w in widgets if w.stored], values, linked)
    if aligned is not None and (first.bad or _shows_in_order(first, aligned)):
        yield aligned


def _shows_in_order(first: Walk, aligned: Walk) -> bool:
    """Whether the values that the plain walk doubts have a place by their own kind in the other one.

    A text box takes every text, so that a value that moves into one proves nothing.
    """
    doubted = [first.values[name] for name in first.weak]
    places = {id(value): name for name, value in aligned.values.items()}
    owners = [places.get(id(value)) for value in doubted]
    return all(o is not None and widget_type(aligned.widgets[o].input) != "STRING" for o in owners)


def _by_names(values: Mapping[str, Json], widgets: list[Widget]) -> Walk:
    """Values that the file names itself, along the schema: what the schema lacks is left."""
    result, rest = Walk(), list(reversed(widgets))
    while rest:
        widget = rest.pop()
        result.widgets[widget.name] = widget
        given = widget.name in values
        if widget.sent and given:
            value = result.values[widget.name] = values[widget.name]
            quality = fit(value, widget.input)
            kinds = {BAD: result.bad, POOR: result.poor, WEAK: result.weak}
            if quality != STRONG:
                kinds[quality].append(widget.name)
        elif widget.sent and widget.stored:
            result.missing.append(widget.name)
        if widget_type(widget.input) == DYNAMIC_COMBO:
            key = values[widget.name] if given else default_of(widget.input)
            rest += reversed(dynamic_members(widget.input, key).widgets)
    known = result.widgets.keys() | PSEUDO
    result.left = [v for name, v in values.items() if name not in known]
    return result


def _finished(chosen: Walk, node: UiNode, findings: Findings) -> dict[str, Json]:
    """The values of a walk in the order of the widgets, with defaults where the file has none."""
    result: dict[str, Json] = {}
    filled, open_ = [], []
    for name, widget in chosen.widgets.items():
        if not widget.sent:
            continue
        value = settled(widget.input, chosen.values[name]) if name in chosen.values else default_of(widget.input)
        if value is UNKNOWN:
            open_.append(name)
            continue
        if name not in chosen.values and widget.stored:
            filled.append(name)
        result[name] = value if name in chosen.values else settled(widget.input, value)
    _say(chosen, filled, open_, node, findings)
    return result


def _say(chosen: Walk, filled: list[str], open_: list[str], node: UiNode, findings: Findings) -> None:
    where = {"node_id": node.id, "class_type": node.type}
    if filled:
        # What the front end does as well: for those who ask.
        findings.note("default_filled", f"the file holds no value for {', '.join(filled)[:200]}: its default", **where)
    if open_:
        findings.warn("widgets_missing", f"the file holds no value for {', '.join(open_)[:200]}", **where)
    if chosen.left:
        findings.warn(
            "widgets_left",
            f"{len(chosen.left)} widget values belong to no input of the class in {SERVER} and are dropped",
            got=", ".join(brief(v, 24) for v in chosen.left[:20])[:200],
            **where,
        )
    if chosen.poor:
        names = ", ".join(chosen.poor)[:100]
        findings.warn("value_coerced", f"{names}: nothing, or a fraction that a server cuts off", **where)


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
        partner = node.type in partner_classes()
        what = "calls a partner service and is known by name only" if partner else "is unknown"
        findings.problem(
            "missing_node_type",
            f"the class {what}, so its {len(values)} widget values cannot be named",
            node_id=node.id,
            class_type=node.type,
            got=", ".join(brief(v, 24) for v in values[:20])[:200],
            hint="give its schema with --object-info FILE (the answer of http://HOST:8188/object_info), "
            "or export the workflow with Export (API)",
        )
    return named
