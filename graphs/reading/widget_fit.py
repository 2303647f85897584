"""How well a stored widget value fits the input it may belong to."""

from __future__ import annotations

from typing import Any

from graphs.node import COMBO, Input

Json = Any

BAD, WEAK, STRONG = 0, 1, 2


def fit(value: Json, input: Input) -> int:
    """STRONG: of the type and inside the range or list. WEAK: could be it (another version's range, a number as text).

    BAD: another type. File lists depend on the disk and choices on the version, so an unknown choice is WEAK, not BAD.
    """
    if input.type == "INT":
        return _number(value, input, whole=True)
    if input.type == "FLOAT":
        return WEAK if value is None else _number(value, input, whole=False)  # NaN is written as null
    if input.type == "STRING":
        return STRONG if isinstance(value, str) else BAD if isinstance(value, bool | list | dict) else WEAK
    if input.type == "BOOLEAN":
        return STRONG if isinstance(value, bool) else BAD if isinstance(value, list | dict | float) else WEAK
    if input.type == COMBO:
        return _choice(value, input)
    return WEAK


def _number(value: Json, input: Input, *, whole: bool) -> int:
    if isinstance(value, str):
        return WEAK if _reads_as_number(value) else BAD
    if isinstance(value, bool) or not isinstance(value, int | float):
        return BAD
    if whole and isinstance(value, float) and not value.is_integer():
        return BAD
    low, high = input.min, input.max
    inside = (low is None or value >= low) and (high is None or value <= high)
    return STRONG if inside else WEAK


def _reads_as_number(text: str) -> bool:
    try:
        float(text[:64])
    except ValueError:
        return False
    return True


def _choice(value: Json, input: Input) -> int:
    if isinstance(value, list | dict):
        return BAD
    if value is None:
        return WEAK
    options = input.options
    if input.folder is not None or not options:
        return STRONG if isinstance(value, str) else BAD
    # True == 1 in Python, not in JSON: a choice must also be of the same kind.
    if any(value == o and isinstance(value, bool) == isinstance(o, bool) for o in options):
        return STRONG
    return WEAK if any(isinstance(o, str) == isinstance(value, str) for o in options) else BAD
