"""Pictures of strangers: bounds, formats, damage. Pictures that are whole are in test_image_ops."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from graphs.errors import RunError, UsageError
from runtime.context import OpContext
from runtime.ops.image import load_image, load_mask
from runtime.pictures import ENV
from tests.runtime.op_context import context

HOSTILE = Path(__file__).parents[2] / "../shared/reference/cases/hostile"


@pytest.fixture
def ctx(tmp_path: Path) -> OpContext:
    made = context(tmp_path)
    made.input_dir.mkdir(exist_ok=True)
    return made


def png(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel that claims a size, and has next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1, 170_000_000), (13_000, 13_000), (9_400, 9_400), (2**31 - 1, 2**31 - 1)])
def test_sizes_are_looked_at_before_anything_is_decoded(ctx: OpContext, size: tuple[int, int]) -> None:
    (ctx.input_dir / "bomb.png").write_bytes(png(*size))
    with pytest.raises(RunError) as caught:
        load_image(ctx, "bomb.png")
    assert "too large" in str(caught.value) or "exceeds limit" in str(caught.value)
    with pytest.raises(RunError):
        load_mask(ctx, "bomb.png", "red")


def test_frames_count_together(ctx: OpContext, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("L", (100, 100), shade) for shade in range(0, 200, 10)]
    frames[0].save(ctx.input_dir / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(ctx, "a.gif")[0].shape == (20, 100, 100, 3)
    monkeypatch.setenv(ENV, "0.1")
    with pytest.raises(RunError, match=r"at most 0\.1 million pixels in all frames"):
        load_image(ctx, "a.gif")
    assert load_mask(ctx, "a.gif", "red").shape == (1, 100, 100)  # of the first frame alone


@pytest.mark.parametrize("value", ["many", "inf", "-1", "0", "nan"])
def test_a_bound_that_is_none_is_refused(ctx: OpContext, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    Image.new("L", (8, 8)).save(ctx.input_dir / "a.png")
    monkeypatch.setenv(ENV, value)
    with pytest.raises(UsageError, match=ENV):
        load_image(ctx, "a.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_photo_that_was_cut_off_is_read_as_far_as_it_goes(
    ctx: OpContext, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    path = ctx.input_dir / "a.img"
    Image.fromarray(noise).save(path, kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    if kind == "WEBP":  # decoded as a whole, or not at all
        with pytest.raises(RunError, match="cannot read"):
            load_image(ctx, "a.img")
        return
    with caplog.at_level(logging.WARNING):
        image, _ = load_image(ctx, "a.img")
    assert "is cut off or damaged" in caplog.text
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    assert before is False
    try:
        with Image.open(path) as opened:
            expected = np.asarray(opened.convert("RGB"))
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
    assert np.array_equal((image[0] * 255).round().numpy().astype(np.uint8), expected)


def test_a_damaged_file_that_claims_more_than_it_can_hold(ctx: OpContext) -> None:
    """A hundred bytes of a PNG of 49 million pixels would be a plain picture of a gigabyte."""
    path = ctx.input_dir / "a.img"
    Image.new("1", (7000, 7000)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RunError, match="cannot read"):
        load_image(ctx, "a.img")


def test_a_picture_starts_no_other_program(ctx: OpContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PostScript goes to Ghostscript, where that is installed: a stand-in for it leaves a mark."""
    mark, stand_in = tmp_path / "mark", tmp_path / "bin" / "gs"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!/bin/sh\ntouch {mark}\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    (ctx.input_dir / "cat.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(RunError, match="cannot read"):
        load_image(ctx, "cat.png")
    assert not mark.exists()


@pytest.mark.parametrize("folder", ["images", "images_cli"])
def test_damaged_pictures_of_the_cases(ctx: OpContext, folder: str) -> None:
    files = sorted((HOSTILE / folder).glob("*"))
    if not files:
        pytest.skip(f"the cases are not here: {HOSTILE}")
    for file in files:
        (ctx.input_dir / "a.img").write_bytes(file.read_bytes())
        try:
            image, mask = load_image(ctx, "a.img")
        except RunError:
            continue
        assert (image.dim(), mask.dim()) == (4, 3)
