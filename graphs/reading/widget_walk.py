"""One way to read a node's list of values along the widgets of its schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from graphs.dynamic_inputs import DYNAMIC_COMBO
from graphs.node import CONTROL_WORDS
from graphs.reading.widget_fit import BAD, POOR, STRONG, WEAK, fit
from graphs.reading.widget_list import (
    SEEDS,
    Widget,
    default_key,
    dynamic_members,
    is_combo,
    widget_type,
)

Json = Any

MAX_CELLS = 4000  # of the table that `align` fills
TRIVIAL = (None, "", "image", "audio", "video", "file")
_BUTTONS = ("upload3dmodel", "uploadExtraResources", "clear")  # stand right after a 3D file's widget


@dataclass(slots=True)
class Walk:
    """One way to read the list. values: by widget, of those that are sent; the rest: how well the list is explained.

    weak, poor, bad: widgets whose value fits only loosely, hardly, not at all. missing: widgets for which there is no
    value. left: values that no widget takes; exact: there are none, not even empty ones. choices: places where a
    control value could be consumed. controls: places in the list where one was.
    """

    values: dict[str, Json] = field(default_factory=dict)
    widgets: dict[str, Widget] = field(default_factory=dict)  # every widget on the way, in order
    weak: list[str] = field(default_factory=list)
    poor: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left: list[Json] = field(default_factory=list)
    choices: int = 0
    controls: set[int] = field(default_factory=set)
    exact: bool = True

    @property
    def whole(self) -> bool:
        return not (self.bad or self.missing or self.left)

    @property
    def doubts(self) -> tuple[int, int, int]:
        """Smaller is better: what does not fit, then what is not explained."""
        return len(self.poor), len(self.weak), len(self.left) + len(self.missing)


def walk(
    widgets: Sequence[Widget], values: Sequence[Json], linked: frozenset[str] = frozenset(), skip: int = 0
) -> Walk:
    """Consume the values along the widgets of a schema.

    skip: bit k set leaves the k-th value that could also be the next widget's, where a control value is expected.
    """
    result, rest, at = Walk(), list(reversed(widgets)), 0
    while rest:
        widget = rest.pop()
        result.widgets[widget.name] = widget
        if not widget.stored:
            continue
        if at >= len(values):
            if widget.sent:
                result.missing.append(widget.name)
            rest += reversed(_shown(widget, default_key(widget.input), result, 0))
            continue
        value = values[at]
        quality = STRONG if widget.name in linked else fit(value, widget.input)
        if widget.optional and quality != STRONG:
            continue
        at += 1
        if widget.sent:
            result.values[widget.name] = value
            _judge(widget, quality, at >= len(values) and not rest, result)
        rest += reversed(_shown(widget, value, result, len(values) - at))
        while widget.input.upload and at < len(values) and values[at] in _BUTTONS:
            at += 1
        at = _after_control(widget, rest, values, at, result, skip)
    result.exact = at >= len(values)
    result.left = [v for v in values[at:] if not (isinstance(v, str | None) and v in TRIVIAL)]
    return result


def _after_control(
    widget: Widget, rest: Sequence[Widget], values: Sequence[Json], at: int, result: Walk, skip: int
) -> int:
    """Where the list goes on behind the widget's control value, and behind the filter of a combo that has one."""
    if at >= len(values) or not takes_control(widget, values[at]):
        return at
    if _may_be_next(rest, values[at]):
        taken = not skip >> result.choices & 1
        result.choices += 1
        if not taken:
            return at
    result.controls.add(at)
    at += 1
    if is_combo(widget.input) and at < len(values) and isinstance(values[at], str):
        texts = rest and fit(values[at], rest[-1].input) == STRONG
        if values[at] == "" or not texts:
            at += 1
    return at


def _judge(widget: Widget, quality: int, last: bool, result: Walk) -> None:
    if quality == BAD and widget_type(widget.input) == DYNAMIC_COMBO and last:
        quality = WEAK  # a key of another version, but nothing stands behind it that it could shift
    if quality == BAD:
        result.bad.append(widget.name)
    elif quality == POOR:
        result.poor.append(widget.name)
    elif quality == WEAK:
        result.weak.append(widget.name)


def _shown(widget: Widget, value: Json, result: Walk, left: int) -> list[Widget]:
    """The widgets that this one shows for its value."""
    if widget_type(widget.input) != DYNAMIC_COMBO:
        return []
    members = dynamic_members(widget.input, value)
    shown = members.widgets
    if not members.ordered and len(shown) > 1 and left:
        result.bad.append(widget.name)  # the schema does not say which value is whose
    return shown


def takes_control(widget: Widget, value: Json) -> bool:
    """Whether this value, right behind the widget, may be its after-run control."""
    if isinstance(value, bool):
        return widget.input.type == "INT" and widget.name in SEEDS  # 2023: whether to draw a new seed after each run
    return widget.controlled and isinstance(value, str) and value in CONTROL_WORDS


def _may_be_next(rest: Sequence[Widget], value: Json) -> bool:
    """Whether a control value may as well be the next widget's: a boolean, or one of its choices."""
    if not rest:
        return False
    following = rest[-1].input
    if isinstance(value, bool):
        return widget_type(following) == "BOOLEAN"
    return is_combo(following) and value in (following.options or ())


def align(widgets: Sequence[Widget], values: Sequence[Json], linked: frozenset[str]) -> Walk | None:
    """The only way to leave some widgets unset so that every value fits strongly; None without one, or with two.

    Counts the ways by dynamic programming over (widget, value), so that a long list costs its length times the
    schema's.
    """
    n, m = len(widgets), len(values)
    if not n - m > 0 or n * m > MAX_CELLS or any(widget_type(w.input) == DYNAMIC_COMBO for w in widgets):
        return None
    # ways[i][j]: in how many ways values[j:] fit widgets[i:], counted up to two.
    ways = [[0] * (m + 2) for _ in range(n + 1)]
    ways[n][m] = 1
    for i in range(n - 1, -1, -1):
        ways[i][m] = 1
        for j in range(m - 1, -1, -1):
            after = _after(widgets[i], values, j, linked)
            ways[i][j] = min(2, ways[i + 1][j] + (ways[i + 1][after] if after else 0))
    return _only_way(widgets, values, linked, ways) if ways[0][0] == 1 else None


def _after(widget: Widget, values: Sequence[Json], at: int, linked: frozenset[str]) -> int:
    """Where the list goes on behind a value that fits the widget strongly and its control value; 0: it does not fit."""
    if widget.name not in linked and fit(values[at], widget.input) != STRONG:
        return 0
    return at + 2 if at + 1 < len(values) and takes_control(widget, values[at + 1]) else at + 1


def _only_way(widgets: Sequence[Widget], values: Sequence[Json], linked: frozenset[str], ways: list[list[int]]) -> Walk:
    result, at = Walk(), 0
    for i, widget in enumerate(widgets):
        result.widgets[widget.name] = widget
        after = _after(widget, values, at, linked) if at < len(values) else 0
        if after and ways[i + 1][after]:
            if widget.sent:
                result.values[widget.name] = values[at]
            result.controls.update(range(at + 1, after))
            at = after
        elif widget.sent:
            result.missing.append(widget.name)
    return result
