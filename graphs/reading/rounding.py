"""A number as the widget that it is written to shows it: inside the limits, on a step, with the step's decimals.

The front end does so with the value of a PrimitiveNode; values that a file stores for the widget itself stay.
Source: what the front end 1.58.1 sends for a PrimitiveNode beside widgets of many limits and steps.
"""

from __future__ import annotations

import math
from typing import Any

from graphs.node import Input
from graphs.reading.widget_list import widget_type

Json = Any


def rounded(input: Input, value: Json) -> Json:
    """The value for this widget; anything but a number for a number stays as it is."""
    kind = widget_type(input)
    if kind not in ("INT", "FLOAT") or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not math.isfinite(value):
        return value
    return _whole(input, value) if kind == "INT" else _decimal(input, value)


def _whole(input: Input, value: float) -> Json:
    step = input.step if isinstance(input.step, int | float) and input.step > 0 else 1
    if step == 1 and isinstance(value, int):
        return _inside(input, value)
    low = input.min if input.min is not None else 0
    return _inside(input, int(low + math.floor((value - low) / step + 0.5) * step))


def _decimal(input: Input, value: float) -> Json:
    step = input.step if isinstance(input.step, int | float) and input.step > 0 else 0.5
    digits = min(max(0, -math.floor(math.log10(step))), 15)
    scaled = value * 10**digits
    if abs(scaled) < 2**53:
        value = math.floor(scaled + 0.5) / 10**digits
    return _inside(input, value)


def _inside(input: Input, value: float) -> float:
    if input.max is not None and value > input.max:
        value = input.max
    return input.min if input.min is not None and value < input.min else value
