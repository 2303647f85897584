"""Strict reading of our own JSON files: every value by a reader that says where and what is wrong.

A reader is function(value, where) -> T; combinators make readers of lists, mappings and optional values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from graphs.errors import PlanError

Json = Any
T = TypeVar("T")
Reader = Callable[[Json, str], T]

HINT = "compile the workflow again"


def wrong(where: str, expected: str, value: Json) -> PlanError:
    shown = repr(value)
    return PlanError(
        "damaged plan", where=where, expected=expected, got=shown if len(shown) < 80 else shown[:77] + "...", hint=HINT
    )


def text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise wrong(where, "a string", value)
    return value


def integer(value: Json, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(where, "a whole number", value)
    return value


def number(value: Json, where: str) -> float:
    """An int stays an int: JSON tells 1 from 1.0, and so do ranges of parameters."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong(where, "a number", value)
    return value


def anything(value: Json, where: str) -> Json:
    return value


def optional(read: Reader[T]) -> Reader[T | None]:
    return lambda value, where: None if value is None else read(value, where)


def listed(read: Reader[T]) -> Reader[tuple[T, ...]]:
    def reader(value: Json, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise wrong(where, "a list", value)
        return tuple(read(item, f"{where}[{i}]") for i, item in enumerate(value))

    return reader


def mapped(read: Reader[T]) -> Reader[dict[str, T]]:
    def reader(value: Json, where: str) -> dict[str, T]:
        if not isinstance(value, dict):
            raise wrong(where, "an object", value)
        return {key: read(item, f"{where}.{key}") for key, item in value.items()}

    return reader


def pair(first: Reader[T], second: Reader[Any]) -> Reader[tuple[T, Any]]:
    def reader(value: Json, where: str) -> tuple[T, Any]:
        if not isinstance(value, list) or len(value) != 2:
            raise wrong(where, "a list of two", value)
        return first(value[0], f"{where}[0]"), second(value[1], f"{where}[1]")

    return reader


class Record:
    """An object with exactly the fields that are read; `close` complains about others."""

    def __init__(self, value: Json, where: str) -> None:
        if not isinstance(value, dict):
            raise wrong(where, "an object", value)
        self._value, self._where, self._unread = value, where, dict.fromkeys(value)

    def field(self, name: str, read: Reader[T]) -> T:
        if name not in self._value:
            raise PlanError("damaged plan", where=self._where, expected=f"a field '{name}'", got="none", hint=HINT)
        self._unread.pop(name, None)
        return read(self._value[name], f"{self._where}.{name}")

    def close(self) -> None:
        if self._unread:
            names = ", ".join(f"'{name}'" for name in self._unread)
            raise PlanError("damaged plan", where=self._where, expected="no other field", got=names, hint=HINT)
