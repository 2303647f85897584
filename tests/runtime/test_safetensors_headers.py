"""Headers of safetensors files that are out of proportion are refused, whoever reads them, before they are parsed."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.models.model_file import open_model_file
from graphs.errors import ComfycError
from runtime.memory import peak_rss_bytes
from runtime.ops.files import load_latent
from runtime.safetensors_header import MAX_HEADER_BYTES
from runtime.text.embeddings import load_embedding
from tests.runtime.op_context import context


def model(path: Path) -> None:
    open_model_file(path)


def embedding(path: Path) -> None:
    load_embedding(path, "clip_l", 768)


def latent(path: Path) -> None:
    load_latent(context(path.parent.parent), path.name)


ONE = '"%08d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'


def header(kind: str, size: int) -> bytes:
    if kind == "lists":
        return b'{"a":[' + b"[]," * (size // 3 - 10) + b"[]]}"
    if kind == "tensors":
        return b"{" + "".join(ONE % k for k in range(size // len(ONE % 0))).rstrip(",").encode() + b"}"
    return b'{"__metadata__":{"a":"' + b"x" * (size - 40) + b'"}}'


@pytest.mark.parametrize("read", [model, embedding, latent])
@pytest.mark.parametrize("kind", ["lists", "tensors", "notes"])
@pytest.mark.parametrize("size", [MAX_HEADER_BYTES, 94 << 20])
def test_headers_are_bounded(tmp_path: Path, read: Callable[[Path], None], kind: str, size: int) -> None:
    (tmp_path / "input").mkdir()
    path = tmp_path / "input" / ("a.latent" if read is latent else "a.safetensors")
    text = header(kind, size)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    del text
    before, began = peak_rss_bytes() or 0, time.process_time()
    try:
        read(path)
        assert kind == "notes"
        assert size <= MAX_HEADER_BYTES
    except ComfycError as error:
        assert len(str(error)) < 2000  # noqa: PT017  whatever is wrong with it, it is said
    assert time.process_time() - began < 2.0
    assert (peak_rss_bytes() or 0) - before < 500 << 20
