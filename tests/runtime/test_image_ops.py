"""Pictures as they come: orientation, alpha, palettes, frames, 16-bit, and broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from graphs.errors import RunError
from runtime.context import OpContext
from runtime.ops.image import image_to_u8, load_image
from tests.runtime.op_context import context

RAMP = (np.arange(24, dtype=np.uint8).reshape(4, 6) * 10)[..., None].repeat(3, axis=2)


@pytest.fixture
def ctx(tmp_path: Path) -> OpContext:
    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
    return context(tmp_path)


def test_rgb_has_an_empty_mask_of_64(ctx: OpContext) -> None:
    Image.fromarray(RAMP).save(ctx.input_dir / "a.png")
    image, mask = load_image(ctx, "a.png")
    assert torch.equal(image, torch.from_numpy(RAMP.astype(np.float32) / 255)[None])
    assert torch.equal(mask, torch.zeros(1, 64, 64))


def test_alpha_becomes_one_minus_the_mask_and_colour_stays(ctx: OpContext) -> None:
    alpha = np.full((4, 6, 1), 51, np.uint8)
    Image.fromarray(np.concatenate([RAMP, alpha], axis=2)).save(ctx.input_dir / "a.png")
    image, mask = load_image(ctx, "a.png")
    assert torch.equal(image[0], torch.from_numpy(RAMP.astype(np.float32) / 255))
    assert torch.allclose(mask, torch.full((1, 4, 6), 0.8))


def test_grey_with_alpha(ctx: OpContext) -> None:
    Image.new("LA", (6, 4), (100, 255)).save(ctx.input_dir / "a.png")
    image, mask = load_image(ctx, "a.png")
    assert image.shape == (1, 4, 6, 3)
    assert float(image[0, 0, 0, 2]) == pytest.approx(100 / 255)
    assert torch.equal(mask, torch.zeros(1, 4, 6))


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_palettes_with_transparency(ctx: OpContext, transparency: int | bytes) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putdata([0, 1])
    picture.save(ctx.input_dir / "a.png", transparency=transparency)
    image, mask = load_image(ctx, "a.png")
    assert (image[0, 0] * 255).round().tolist() == [[10, 20, 30], [40, 50, 60]]
    assert mask.tolist() == [[[1.0, 0.0]]]


def test_orientation_is_followed(ctx: OpContext) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    Image.fromarray(RAMP).save(ctx.input_dir / "a.png", exif=exif)
    image, _ = load_image(ctx, "a.png")
    expected = np.rot90(RAMP, -1).astype(np.float32) / 255
    assert torch.equal(image[0], torch.from_numpy(expected.copy()))


def test_frames_make_a_batch_and_odd_ones_are_left_out(ctx: OpContext) -> None:
    frames = [Image.new("RGB", (8, 4), (i, 0, 0)) for i in (10, 20, 30)]
    frames[0].save(ctx.input_dir / "a.tiff", save_all=True, append_images=[Image.new("RGB", (4, 4)), *frames[1:]])
    image, mask = load_image(ctx, "a.tiff")
    assert (image[:, 0, 0, 0] * 255).round().tolist() == [10, 20, 30]
    assert mask.shape == (3, 64, 64)


def test_only_the_first_picture_of_an_mpo(ctx: OpContext) -> None:
    frames = [Image.new("RGB", (16, 16), (i, 0, 0)) for i in (10, 200)]
    frames[0].save(ctx.input_dir / "a.mpo", save_all=True, append_images=frames[1:])
    image, _ = load_image(ctx, "a.mpo")
    assert image.shape == (1, 16, 16, 3)


def test_16_bit_grey_is_read_by_its_high_bits(ctx: OpContext) -> None:
    values = np.array([[0, 255, 256, 25500, 65279, 65535]], np.uint16)
    Image.fromarray(values).save(ctx.input_dir / "a.png")
    image, _ = load_image(ctx, "a.png")
    assert (image[0, 0, :, 1] * 255).round().tolist() == [0, 1, 1, 100, 255, 255]


def test_subfolders_and_other_folders_by_name(ctx: OpContext) -> None:
    (ctx.input_dir / "sub").mkdir()
    for folder in (ctx.input_dir / "sub", ctx.output_dir, ctx.temp_dir):
        Image.fromarray(RAMP).save(folder / "a b.png")
    for name in ("sub/a b.png", "sub\\a b.png", "sub/a b.png [input]", "a b.png [output]", "a b.png [temp]"):
        assert load_image(ctx, name)[0].shape == (1, 4, 6, 3)


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/passwd", "sub/../../a.png", "../a.png [output]", "..\\a.png", "a\0b"]
)
def test_names_outside_the_folders_are_refused(ctx: OpContext, tmp_path: Path, name: str) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    with pytest.raises(RunError, match=r"node 9: .* lies outside the (input|output) folder"):
        load_image(ctx, name)


def test_a_missing_picture_names_a_near_one(ctx: OpContext) -> None:
    with pytest.raises(RunError, match=r"'photo\.png' is not in .*; copy the file to"):
        load_image(ctx, "photo.png")
    Image.fromarray(RAMP).save(ctx.input_dir / "photo1.png")
    with pytest.raises(RunError, match=r"did you mean 'photo1\.png'\?"):
        load_image(ctx, "photo.png")


def test_broken_pictures_are_told(ctx: OpContext) -> None:
    (ctx.input_dir / "a.png").write_bytes(b"no picture")
    with pytest.raises(RunError, match="cannot read"):
        load_image(ctx, "a.png")


def test_pixels_are_truncated_as_comfyui_does(ctx: OpContext) -> None:
    values = torch.tensor([-0.5, 0.0, 0.00392, 0.00393, 0.5, 0.999, 1.0, 2.0])
    pixels = image_to_u8(ctx, values.reshape(1, 1, 8, 1).expand(1, 1, 8, 3))
    assert pixels.dtype == torch.uint8
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 0, 1, 127, 254, 255, 255]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(ctx: OpContext, bad: float) -> None:
    with pytest.raises(RunError, match=r"not finite.*--precision fp32"):
        image_to_u8(ctx, torch.full((1, 2, 2, 3), bad))
