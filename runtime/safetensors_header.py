"""How large the header of a safetensors file may be: it is JSON, which takes seconds and gigabytes to read long before
the 100 MB that the format allows."""

from __future__ import annotations

import struct
from pathlib import Path

MAX_HEADER_BYTES = 16 << 20  # those of the largest public models are below one; trainers put notes of megabytes into it
MAX_CONTAINERS = 300_000  # lists and objects in it: three a tensor, of which large models have 5,000
SMALL = 60_000  # for files of a few tensors, whose notes may hold a workflow


def read_header(path: Path, containers: int = MAX_CONTAINERS) -> bytes | None:
    """The JSON text; None for a file that is too short, or shorter than it says. Raises ValueError for a header that is
    out of proportion, OSError."""
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            return None
        (length,) = struct.unpack("<Q", prefix)
        if length > path.stat().st_size - 8:
            return None
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes, more than {MAX_HEADER_BYTES}")
        text = file.read(length)
    if text.count(b"[") + text.count(b"{") > containers:
        raise ValueError(f"a header of more than {containers} lists and objects")
    return text
