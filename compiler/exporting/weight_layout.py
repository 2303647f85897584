"""Where each weight of a network lies in its weight file: the same for every file of an architecture.

Graphs carry these places, so that a backend can map the file and hand out parts of it without asking for names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from runtime.tensor_header import header, size_bytes


class Slot(Protocol):
    """What of a weight decides its place."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...


@dataclass(frozen=True)
class WeightLayout:
    """header: the first bytes of the file, as safetensors has them. places: name -> (offset in the file, bytes)."""

    header: bytes
    places: Mapping[str, tuple[int, int]]

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return len(self.header) + sum(size for _, size in self.places.values())

    @property
    def fingerprint(self) -> str:
        """A file with this header has its weights at these places."""
        return hashlib.sha256(self.header).hexdigest()


def weight_layout(slots: Iterable[Slot]) -> WeightLayout:
    """The weights one after the other, in the order of the slots, the first on a cache line."""
    table = [(slot.name, getattr(torch, slot.dtype), tuple(slot.shape)) for slot in slots]
    start = header(table)
    places, offset = {}, len(start)
    for name, dtype, shape in table:
        size = size_bytes(dtype, shape)
        places[name] = (offset, size)
        offset += size
    return WeightLayout(start, places)
