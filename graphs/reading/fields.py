"""Single fields of UI JSON, as untrusted files write them: ids, slot numbers, slot types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.reading.api_format import MAX_ID

Json = Any


def slot_type(value: Json) -> str:
    """A slot's type as text: a list of choices is a COMBO, a number (0, -1: any) or nothing is a wildcard."""
    if isinstance(value, str):
        return value or "*"
    return "COMBO" if isinstance(value, list) else "*"


def slot_index(value: Json) -> int | None:
    """A slot number from 0 up, also written as text or as a float; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def id_text(value: Json) -> str | None:
    """Ids are numbers or texts; both become text. None for what is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, int) and value.bit_length() <= 64:
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_ID else None


def mapping(value: Json) -> Mapping[str, Json]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}
