"""Readers of the runtime on files that were changed at random: a result or one ComfycError, whatever the bytes.

Briefly by default; COMFYC_FUZZ_EXAMPLES=20000 for long runs.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from graphs.errors import ComfycError
from tests.e2e import hostile_worker

EXAMPLES = int(os.environ.get("COMFYC_FUZZ_EXAMPLES", "60"))


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((24, 16)).convert("RGBA" if kind == "PNG" else "RGB").save(file, kind)
    return file.getvalue()


def embedding(legacy: bool) -> bytes:
    file = io.BytesIO()
    content = {"string_to_param": {"*": torch.zeros(2, 8)}, "name": "x"}
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


RECORD = b'{"sha256": "' + b"0" * 64 + b'", "size_bytes": 7, "mtime_ns": 1}'
PATHS = b"a111:\n  base_path: webui\n  is_default: true\n  checkpoints: m/x\n  loras: |\n    a\n    b\n  vae: [c]\n"
LATENT = save({"latent_tensor": torch.zeros(1, 4, 2, 2), "latent_format_version_0": torch.empty(0)})
SEEDS: tuple[tuple[str, str, bytes], ...] = (
    *(("images", f"a.{kind}", picture(kind)) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "TGA", "PPM")),
    ("latents", "a.latent", LATENT),
    ("pickles", "zip.pt", embedding(legacy=False)),
    ("pickles", "legacy.pt", embedding(legacy=True)),
    ("yaml", "e.yaml", PATHS),
    ("store", "record.txt", RECORD),
)


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Some bytes set, removed, repeated or put in, and perhaps the end cut off."""
    count = draw(st.integers(1, 6))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=count, max_size=count))
    kinds = draw(st.lists(st.sampled_from("sidr"), min_size=count, max_size=count))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=4), min_size=count, max_size=count))
    cut = draw(st.one_of(st.none(), st.floats(0, 1)))

    def apply(data: bytes) -> bytes:
        for place, kind, piece in zip(places, kinds, pieces, strict=True):
            at = int(place * len(data))
            after = {"s": at + len(piece), "i": at, "d": at + len(piece), "r": at}[kind]
            middle = {"s": piece, "i": piece, "d": b"", "r": data[at : at + 64] * 3}[kind]
            data = data[:at] + middle + data[after:]
        return data if cut is None else data[: int(cut * len(data))]

    return apply


@pytest.mark.parametrize(("kind", "name", "seed"), SEEDS, ids=[name for _, name, _ in SEEDS])
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(damage=damage())
def test_damaged_files(
    tmp_path_factory: pytest.TempPathFactory, kind: str, name: str, seed: bytes, damage: Callable[[bytes], bytes]
) -> None:
    work = tmp_path_factory.getbasetemp() / f"fuzz-{name}"
    for folder in ("input", "output"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    file = work / name
    file.write_bytes(damage(seed))
    try:
        hostile_worker.READERS[kind](file, work)
    except ComfycError as error:
        assert str(error)  # noqa: PT017  whatever is wrong with it, it is said


def test_the_seeds_themselves_are_read(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    for kind, name, seed in SEEDS:
        if kind == "pickles":
            continue  # of another width than the worker asks for
        (tmp_path / name).write_bytes(seed)
        hostile_worker.READERS[kind](tmp_path / name, tmp_path)
