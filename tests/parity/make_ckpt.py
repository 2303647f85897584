"""Writes the model files of the parity cases: deterministic random weights, the same bytes on any machine.

Every tensor is drawn on its own: the stream is numpy's Philox counter generator keyed by sha256("v1:" + seed name),
and each value is the sum of the four 16-bit parts of one raw 64-bit word, centred and scaled (a near-normal of
variance 1). Integer sums, one float32 product and one rounding to float16: nothing in between that could differ.

usage: python -m tests.parity.make_ckpt FOLDER [file ...]     (no file: all of them)
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.parity.layouts.files import FILES, File, layout_of
from tests.parity.layouts.layout import Draw, Layout

SIGMA = 2 * 65536 * math.sqrt(1 / 3)  # deviation of 2*sum - mean, of four uniform 16-bit parts
SIZES = {"F16": 2, "I64": 8}


def draw(seed_name: str, shape: tuple[int, ...], scale: float, offset: float) -> npt.NDArray[np.float32]:
    count = int(np.prod(shape, dtype=np.int64)) if shape else 1
    key = int.from_bytes(hashlib.sha256(("v1:" + seed_name).encode()).digest()[:16], "little")
    parts = np.random.Philox(key=key).random_raw(count).view(np.uint16)
    total = parts[0::4].astype(np.int32)
    for i in (1, 2, 3):
        total += parts[i::4]
    total *= 2
    total -= 4 * 65535
    out = total.astype(np.float32)
    out *= np.float32(scale / SIGMA)
    if offset:
        out += np.float32(offset)
    return out.reshape(shape)


def carry_input_through(role: str, a: npt.NDArray[np.float32]) -> None:
    """Makes the U-Net roughly pass its input on, as a trained one does at high noise.

    The first two channels of each of the 32 norm groups carry +x_i and -x_i (i = group mod 4) from the first
    convolution ("in") over the last skip to the output ("out"): silu(v) - silu(-v) = v, beside the random part.
    """
    channels = a.shape[1] if role == "out" else a.shape[0]
    for group in range(32):
        for sign, c in ((1, channels // 32 * group), (-1, channels // 32 * group + 1)):
            if role == "in":
                a[c] = 0
                a[c, group % 4, 1, 1] = sign
            elif role == "skip":
                a[c] *= np.float32(0.25)
                a[c, channels + c] = 1
            else:
                a[:, c] = 0
                a[group % 4, c, 1, 1] = sign / 8


def array(seed_name: str, rule: Draw) -> npt.NDArray[np.float16] | npt.NDArray[np.int64]:
    if rule.scale is None:
        return np.arange(rule.shape[1], dtype=np.int64).reshape(rule.shape)
    if rule.scale:
        values = draw(seed_name, rule.shape, rule.scale, rule.offset)
    else:
        values = np.full(rule.shape, rule.offset, np.float32)
    if rule.carries:
        carry_input_through(rule.carries, values)
    return values.astype(np.float16)


def write(folder: Path, name: str) -> dict[str, object]:
    """Writes one file (by rename, so that a killed run leaves no half of it) and says what it wrote."""
    began = time.perf_counter()
    file, layout = FILES[name], layout_of(name)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{os.getpid()}" / path.name  # same name: torch.save writes it into the file
    part.parent.mkdir()
    try:
        (_write_safetensors if path.suffix == ".safetensors" else _write_pickle)(part, file, layout)
        digest = hashlib.sha256()
        with part.open("rb") as stream:
            while block := stream.read(1 << 24):
                digest.update(block)
        if file.sha256 and digest.hexdigest() != file.sha256:
            raise SystemExit(f"{name}: came out as {digest.hexdigest()}, expected {file.sha256}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
        part.parent.rmdir()
    return {"file": name, "bytes": path.stat().st_size, "seconds": round(time.perf_counter() - began, 1)}


def write_stand_in(path: Path, layout: Layout, *, filled: bool = False) -> None:
    """A safetensors file with the header and the size of the real one.

    Its data are a hole, which takes no space on disk: enough to recognise a family. filled: small random numbers, the
    same again and again, for what looks at weights (an engine builder) without caring which they are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    size = _size_bytes(layout)
    with path.open("wb") as stream:
        stream.write(_header(layout))
        if filled:
            block = draw("stand-in", (1 << 22,), 0.02, 0.0).astype(np.float16).tobytes()
            while stream.tell() < size:
                stream.write(block)
        stream.truncate(size)


def size_bytes(name: str) -> int:
    """Of the file (of a pickle: of its tensors)."""
    return _size_bytes(layout_of(name))


def _size_bytes(layout: Layout) -> int:
    return len(_header(layout)) + sum(map(_tensor_bytes, layout.tensors.values()))


def _tensor_bytes(rule: Draw) -> int:
    return int(np.prod(rule.shape, dtype=np.int64)) * SIZES[rule.dtype]


def _write_pickle(path: Path, file: File, layout: Layout) -> None:
    """.pt: a textual inversion; .pth: an upscale model."""
    import torch

    tensors = {k: torch.from_numpy(array(f"{file.tag}/{k}", layout.tensors[k])) for k in sorted(layout.tensors)}
    if path.suffix == ".pth":
        torch.save({"params_ema": tensors}, path)
    else:
        torch.save({"string_to_token": {"*": 265}, "string_to_param": tensors, "name": file.tag, "step": 0}, path)


def _write_safetensors(path: Path, file: File, layout: Layout) -> None:
    with path.open("wb") as stream:
        stream.write(_header(layout))
        for key in _order(layout):
            stream.write(array(f"{file.tag}/{file.prefix}{key}", layout.tensors[key]).tobytes())


def _order(layout: Layout) -> list[str]:
    """The wider types first, then by key."""
    return sorted(layout.tensors, key=lambda key: (-SIZES[layout.tensors[key].dtype], key))


def _header(layout: Layout) -> bytes:
    """8 bytes of size and JSON: what stands before the data."""
    offset, header = 0, {}
    for key in _order(layout):
        rule = layout.tensors[key]
        end = offset + _tensor_bytes(rule)
        header[key] = {"dtype": rule.dtype, "shape": list(rule.shape), "data_offsets": [offset, end]}
        offset = end
    blob = json.dumps(header, separators=(",", ":")).encode()
    blob += b" " * (-len(blob) % 8)
    return struct.pack("<Q", len(blob)) + blob


if __name__ == "__main__":
    for wanted in sys.argv[2:] or FILES:
        print(json.dumps(write(Path(sys.argv[1]), wanted)), flush=True)
