"""The value of a widget for which a file holds none, and the form in which a stored value is sent."""

from __future__ import annotations

from typing import Any

from graphs.dynamic_inputs import DYNAMIC_COMBO
from graphs.node import COMBO, Input
from graphs.reading.widget_list import default_key, widget_type

Json = Any

UNKNOWN = object()  # no default: a combo that lists files of a disk that we do not see

_EMPTY: dict[str, Json] = {
    "INT": 0,
    "FLOAT": 0,
    "STRING": "",
    "BOOLEAN": False,
    "COLOR": "#000000",
    "COLORS": [],
    "BOUNDING_BOX": {"x": 0, "y": 0, "width": 512, "height": 512},
    "BOUNDING_BOXES": [],
    "CURVE": {"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"},
    "RANGE": {"min": 0, "max": 1},
    "COMPOSITOR": {},
    "IMAGECOMPARE": ["", ""],
}


def default_of(input: Input) -> Json:
    """What the front end shows in a new widget; UNKNOWN where that depends on files of a server."""
    kind = widget_type(input)
    if kind == DYNAMIC_COMBO:
        return default_key(input)
    if kind == COMBO:
        return _default_choice(input)
    if input.default is not None:
        return input.default
    return _EMPTY.get(kind, "")


def _default_choice(input: Input) -> Json:
    if input.extra.get("multi_select"):
        return input.default if isinstance(input.default, list) else []
    if input.default is not None:
        return input.default
    if input.folder is not None or not input.options:
        return UNKNOWN
    return input.options[0]


def settled(input: Input, value: Json) -> Json:
    """The value as the front end sends it: samplers' old names, nothing chosen in a list, curves in their envelope."""
    kind = widget_type(input)
    if kind == COMBO and value is None:
        return default_of(input)
    if kind == COMBO and isinstance(value, str) and value.startswith("sample_") and input.name == "sampler_name":
        return value.removeprefix("sample_") if value not in (input.options or ()) else value
    if kind == "CURVE" and not (isinstance(value, dict) and "__type__" in value):
        return {"__type__": "CURVE", "__value__": value}
    return value
