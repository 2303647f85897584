"""The first bytes of a safetensors file, so that one can be written tensor after tensor: one in memory at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import torch

# The format's name of each dtype.
CODES: Mapping[torch.dtype, str] = MappingProxyType(
    {
        torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
        torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.int64: "I64", torch.int32: "I32",
        torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    }
)  # fmt: skip
DTYPES: Mapping[str, torch.dtype] = MappingProxyType({code: dtype for dtype, code in CODES.items()})
_ALIGNMENT = 64

Slot = tuple[str, torch.dtype, tuple[int, ...]]  # name, dtype, shape


def size_bytes(dtype: torch.dtype, shape: Iterable[int]) -> int:
    return math.prod(shape) * dtype.itemsize


def header(slots: Iterable[Slot], metadata: Mapping[str, str] | None = None) -> bytes:
    """For tensors that follow one after the other in the order of the slots, the first on a cache line.

    Equal slots give equal bytes."""
    fields: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for name, dtype, shape in slots:
        size = size_bytes(dtype, shape)
        fields[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """What follows the header; no copy where the tensor is contiguous and on the CPU."""
    ready = tensor.detach().to(device="cpu").contiguous()
    return memoryview(ready.reshape(-1).view(torch.uint8).numpy().data)
