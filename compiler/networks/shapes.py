"""Shapes of one part's weights: what config readers read (never a file name)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphs.errors import CheckpointError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Shapes:
    """The shapes of one part's weights under their names inside it. where: the file, for errors."""

    shapes: Mapping[str, Shape]
    where: str

    def of(self, key: str, dims: int) -> Shape:
        """The shape of a weight that must be there. Raises CheckpointError."""
        shape = self.shapes.get(key)
        if shape is None:
            raise CheckpointError("a tensor is missing", where=self.where, expected=key, hint="the file is incomplete")
        if len(shape) != dims or min(shape) < 1:
            raise self.odd(key, f"{dims} dimensions", str(list(shape)))
        return shape

    def numbers(self, pattern: str) -> list[int]:
        """The numbers that a pattern's group takes over all keys."""
        compiled = re.compile(pattern)
        return sorted({int(m[1]) for key in self.shapes if (m := compiled.match(key))})

    def first(self, endings: Iterable[str]) -> str | None:
        found = tuple(endings)
        return next((key for key in self.shapes if key.endswith(found)), None)

    def odd(self, key: str, expected: str, got: str) -> CheckpointError:
        return CheckpointError(
            f"tensor '{key}' has a shape that no known network has", where=self.where, expected=expected, got=got,
            hint="the file is damaged, or of an architecture that is not compiled yet",
        )  # fmt: skip
