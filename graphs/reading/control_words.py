"""Control words that are choices as well: "fixed" may be what happens to a seed after a run, or a combo's value.

A list of values that is as long as the class's widgets tells which. In a file that is older than its class both
readings may explain every value, with different results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphs.node import CONTROL_WORDS
from graphs.reading.widget_fit import STRONG, fit
from graphs.reading.widget_list import Widget, is_combo
from graphs.reading.widget_walk import MAX_CELLS, TRIVIAL, Walk, takes_control

Json = Any


def other_reading(chosen: Walk, values: Sequence[Json], linked: frozenset[str]) -> tuple[str, float] | None:
    """A control word that can be read the other way, and the fewest widgets that stay without a value then.

    The other way: as a control where the chosen walk has it as a combo's value, as a value where it has a control.
    Every value must fit its place. None where each word has one reading, or the list is too long to be tried.
    """
    widgets = [w for w in chosen.widgets.values() if w.stored]
    while values and isinstance(values[-1], str | None) and values[-1] in TRIVIAL:
        values = values[:-1]
    choices = {o for w in widgets if is_combo(w.input) for o in w.input.options or () if isinstance(o, str)}
    words = [k for k, v in enumerate(values) if isinstance(v, str) and v in CONTROL_WORDS and v in choices]
    if not any(w.controlled for w in widgets) or len(widgets) * len(values) > MAX_CELLS:
        return None
    others = [(_fewest_unset(widgets, values, linked, at, at not in chosen.controls), at) for at in words]
    unset, at = min(others, default=(math.inf, 0))
    return None if math.isinf(unset) else (values[at], unset)


def _fewest_unset(
    widgets: Sequence[Widget], values: Sequence[Json], linked: frozenset[str], word: int, control: bool
) -> float:
    """The fewest widgets without a value where values[word] is a control, or is none; infinite if nothing fits.

    Dynamic programming over (widget, value), from the end.
    """
    n, m = len(widgets), len(values)
    unset = [[math.inf] * (m + 2) for _ in range(n + 1)]
    unset[n][m] = 0
    for i in range(n - 1, -1, -1):
        widget = widgets[i]
        for j in range(m, -1, -1):
            best = unset[i + 1][j] + (widget.sent and not widget.optional)
            if j < m and not (j == word and control) and _fits(widget, values[j], linked):
                best = min(best, unset[i + 1][j + 1])
                consumed = j + 1 < m and not (j + 1 == word and not control) and takes_control(widget, values[j + 1])
                if consumed:
                    best = min(best, unset[i + 1][j + 2])
            unset[i][j] = best
    return unset[0][0]


def _fits(widget: Widget, value: Json, linked: frozenset[str]) -> bool:
    if isinstance(value, str) and value in CONTROL_WORDS:
        # A text box takes every text, so that a control word in one proves nothing.
        return is_combo(widget.input) and value in (widget.input.options or ())
    return widget.name in linked or fit(value, widget.input) == STRONG
