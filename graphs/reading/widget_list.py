"""The widgets that the front end makes for a node class, in the order of their values in a file.

They are the schema's inputs of widget types, in its order, and some that no schema knows: fields of a picture crop, the
player of a recorder, thumbnails of 3D files. Those are stored, sent, or both, as the table says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphs.definition import NodeDef
from graphs.dynamic_inputs import AUTOGROW, DYNAMIC_COMBO, DYNAMIC_GROUP
from graphs.node import BROWSER_WIDGETS, COMBO, WIDGET_TYPES, Input
from graphs.object_info import input_def

Json = Any

SEEDS = frozenset({"seed", "noise_seed"})
MAX_ROWS = 1000  # of one dynamic group or options of one custom combo


@dataclass(frozen=True, slots=True)
class Widget:
    """One widget. stored: it has a place in widgets_values; sent: it is an input of the API form.

    optional: older front ends did not store it, so that a value is taken only if it is of its type.
    """

    input: Input
    stored: bool = True
    sent: bool = True
    optional: bool = False

    @property
    def name(self) -> str:
        return self.input.name

    @property
    def controlled(self) -> bool:
        """Whether the front end puts the after-run control behind it ("fixed", "randomize" ...)."""
        return self.input.control_after_generate or (self.input.type == "INT" and self.name in SEEDS)


_HIDDEN_NUMBERS = tuple(Widget(Input(n, "INT"), sent=False, optional=True) for n in ("x", "y", "width", "height"))
_REFRESH = Widget(Input("Auto-refresh after generation", "BOOLEAN"), sent=False, optional=True)
_AFTER_TYPE: Mapping[str, tuple[Widget, ...]] = {
    "BOUNDING_BOX": _HIDDEN_NUMBERS,
    "AUDIO_RECORD": (Widget(Input("audio#1", "STRING"), sent=False, optional=True),),
}
_THUMBNAIL = Widget(Input("image", "STRING", default=""))
# Widgets that the browser adds after a class's own. Source: what the front end 1.58.1 stores and sends for them.
_AFTER_CLASS: Mapping[str, tuple[Widget, ...]] = {
    "SaveGLB": (_THUMBNAIL,),
    "Preview3D": (_THUMBNAIL,),
}
CUSTOM_COMBO = "CustomCombo"


def widget_type(input: Input) -> str:
    """The type that the front end makes the widget by: a schema may name one beside the type of the socket."""
    kind = input.extra.get("widgetType")
    return kind if isinstance(kind, str) else input.type


def is_browser_widget(input: Input) -> bool:
    """Whether the front end makes a widget for this input."""
    if input.force_input or input.hidden:
        return False
    kind = widget_type(input)
    return kind in WIDGET_TYPES or kind in BROWSER_WIDGETS or kind == DYNAMIC_COMBO


def widgets_of(schema: NodeDef, *, forced: bool = False, rows: Mapping[str, int] | None = None) -> list[Widget]:
    """The widgets of a class. forced: with a dummy, never sent, for each input that is a socket by forceInput.

    rows: of its dynamic groups. How many a node has stands in no value, only in the names that its file gives.
    """
    found: list[Widget] = []
    for input in schema.inputs:
        if widget_type(input) == DYNAMIC_GROUP and not input.hidden:
            fewest = input.min if isinstance(input.min, int) else 0
            found += row_widgets(input, (rows or {}).get(input.name, fewest))
        elif widget_type(input) == AUTOGROW and not input.hidden:
            found += grown_widgets(input, (rows or {}).get(input.name, 0))
        elif is_browser_widget(input):
            found += with_companions(input)
        elif forced and input.force_input and not input.hidden:
            found.append(Widget(input, sent=False))
    present = {w.name for w in found}
    return found + [w for w in _AFTER_CLASS.get(schema.class_type, ()) if w.name not in present]


def with_companions(input: Input) -> list[Widget]:
    kind = widget_type(input)
    refresh = (_REFRESH,) if input.extra.get("remote") else ()
    return [Widget(input, stored=kind != "IMAGECOMPARE"), *refresh, *_AFTER_TYPE.get(kind, ())]


@dataclass(frozen=True, slots=True)
class Members:
    """What a dynamic combo shows for its value. known: the value is one of its keys."""

    inputs: tuple[Input, ...]
    known: bool = True
    ordered: bool = True  # False: nobody knows in which order the values of the members stand

    @property
    def widgets(self) -> list[Widget]:
        return [w for i in self.inputs if is_browser_widget(i) for w in with_companions(i)]


def dynamic_members(input: Input, key: Json) -> Members:
    """The inputs named "combo.member" that a dynamic combo shows for its value."""
    for option in input.extra.get("options") or ():
        if isinstance(option, Mapping) and option.get("key") == key:
            return Members(_member_inputs(input.name, option.get("inputs")), ordered=not option.get("unordered"))
    return Members((), known=False)


def row_widgets(input: Input, rows: int) -> list[Widget]:
    """The widgets "group.0.member", "group.1.member" ... of a dynamic group of so many rows."""
    template = input.extra.get("template")
    inputs = [i for row in range(min(rows, MAX_ROWS)) for i in _member_inputs(f"{input.name}.{row}", template)]
    return [w for i in inputs if is_browser_widget(i) for w in with_companions(i)]


def grown_widgets(input: Input, count: int) -> list[Widget]:
    """The widgets "grown.name0", "grown.name1" ... of an input that grows, where its members are widgets.

    count: of the members that the file names; there are at least the fewest that the class wants, and one to grow by.
    """
    template = input.extra.get("template")
    if not isinstance(template, Mapping):
        return []
    members = [w for i in _member_inputs("", template.get("input")) for w in with_companions(i) if is_browser_widget(i)]
    fewest = template.get("min")
    count = max(count, fewest + 1 if isinstance(fewest, int) else 1)
    names = template.get("names")
    listed = (
        [str(n) for n in names]
        if isinstance(names, list)
        else [f"{template.get('prefix', '')}{k}" for k in range(min(count, MAX_ROWS))]
    )
    return [
        replace(w, input=replace(w.input, name=f"{input.name}.{name}"))
        for name in listed[:MAX_ROWS]
        for w in members[:1]
    ]


def _member_inputs(prefix: str, sections: Json) -> tuple[Input, ...]:
    sections = sections if isinstance(sections, Mapping) else {}
    return tuple(
        input_def("", f"{prefix}.{name}" if prefix else name, spec, required=section == "required")
        for section in ("required", "optional")
        if isinstance(sections.get(section), Mapping)
        for name, spec in sections[section].items()
    )


def default_key(input: Input) -> Json:
    """The key that a dynamic combo starts with."""
    keys = [o.get("key") for o in input.extra.get("options") or () if isinstance(o, Mapping)]
    return input.default if input.default in keys else keys[0] if keys else None


def option_widgets(values: Sequence[Json]) -> list[Widget]:
    """The widgets option1, option2 ... of a custom combo, one a value."""
    return [Widget(Input(f"option{k + 1}", "STRING")) for k in range(min(len(values), MAX_ROWS))]


def is_combo(input: Input) -> bool:
    return widget_type(input) == COMBO
