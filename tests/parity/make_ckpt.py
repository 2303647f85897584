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

from tests.parity.layouts import FILES, Draw, Layout

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


def carry_input_through(key: str, a: npt.NDArray[np.float32]) -> None:
    """Makes the U-Net roughly pass its input on, as a trained one does at high noise.

    Channels 10g and 10g+1 of each of the 32 norm groups carry +x_i and -x_i (i = g mod 4) from the first convolution
    over the last skip to the output (silu(v) - silu(-v) = v), beside the random part.
    """
    for g in range(32):
        for sign, c in ((1, 10 * g), (-1, 10 * g + 1)):
            if key.endswith("input_blocks.0.0.weight"):
                a[c] = 0
                a[c, g % 4, 1, 1] = sign
            elif key.endswith("output_blocks.11.0.skip_connection.weight"):
                a[c] *= np.float32(0.25)
                a[c, 320 + c] = 1
            elif key.endswith("diffusion_model.out.2.weight"):
                a[:, c] = 0
                a[g % 4, c, 1, 1] = sign / 8


def array(tag: str, key: str, rule: Draw) -> npt.NDArray[np.float16] | npt.NDArray[np.int64]:
    if rule.scale is None:
        return np.arange(rule.shape[1], dtype=np.int64).reshape(rule.shape)
    if rule.scale:
        values = draw(f"{tag}/{key}", rule.shape, rule.scale, rule.offset)
    else:
        values = np.full(rule.shape, rule.offset, np.float32)
    carry_input_through(key, values)
    return values.astype(np.float16)


def write(folder: Path, name: str) -> dict[str, object]:
    """Writes one file (by rename, so that a killed run leaves no half of it) and says what it wrote."""
    began = time.perf_counter()
    file, layout = FILES[name], Layout()
    file.build(layout)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{os.getpid()}" / path.name  # same name: torch.save writes it into the file
    part.parent.mkdir()
    try:
        (_write_pt if path.suffix == ".pt" else _write_safetensors)(part, file.tag, layout)
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
    size_bytes = path.stat().st_size
    return {"file": name, "bytes": size_bytes, "seconds": round(time.perf_counter() - began, 1)}


def _write_pt(path: Path, tag: str, layout: Layout) -> None:
    import torch

    params = {key: torch.from_numpy(array(tag, key, layout.tensors[key])) for key in sorted(layout.tensors)}
    torch.save({"string_to_token": {"*": 265}, "string_to_param": params, "name": tag, "step": 0}, path)


def _write_safetensors(path: Path, tag: str, layout: Layout) -> None:
    """8 bytes of header size, JSON header, data; the wider types first, then by key."""
    offset, header = 0, {}
    order = sorted(layout.tensors, key=lambda k: (-SIZES[layout.tensors[k].dtype], k))
    for key in order:
        rule = layout.tensors[key]
        end = offset + int(np.prod(rule.shape, dtype=np.int64)) * SIZES[rule.dtype]
        header[key] = {"dtype": rule.dtype, "shape": list(rule.shape), "data_offsets": [offset, end]}
        offset = end
    blob = json.dumps(header, separators=(",", ":")).encode()
    blob += b" " * (-len(blob) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(blob)))
        stream.write(blob)
        for key in order:
            stream.write(array(tag, key, layout.tensors[key]).tobytes())


if __name__ == "__main__":
    for wanted in sys.argv[2:] or FILES:
        print(json.dumps(write(Path(sys.argv[1]), wanted)), flush=True)
