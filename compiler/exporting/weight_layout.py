"""Where each weight of a network lies in its weight file: the same for every file of an architecture.

Graphs carry these places, so that a backend can map the file and hand out parts of it without asking for names.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


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
    fields: dict[str, object] = {}
    sizes: dict[str, int] = {}
    offset = 0
    for slot in slots:
        code, item_bytes = _SAFETENSORS[slot.dtype]
        size = math.prod(slot.shape) * item_bytes
        fields[slot.name] = {"dtype": code, "shape": list(slot.shape), "data_offsets": [offset, offset + size]}
        sizes[slot.name] = size
        offset += size
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    header = len(text).to_bytes(8, "little") + text
    places, offset = {}, len(header)
    for name, size in sizes.items():
        places[name] = (offset, size)
        offset += size
    return WeightLayout(header, places)


_SAFETENSORS = {
    "float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2), "int64": ("I64", 8), "int32": ("I32", 4),
    "uint8": ("U8", 1), "bool": ("BOOL", 1),
}  # fmt: skip
_ALIGNMENT = 64
