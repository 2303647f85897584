"""Mask ops against values worked out by hand, and against another way to compute them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from graphs.errors import RunError
from runtime.context import OpContext
from runtime.ops import mask as ops
from runtime.ops.image import load_mask
from tests.runtime.op_context import context


@pytest.fixture
def here(tmp_path: Path) -> OpContext:
    (tmp_path / "input").mkdir()
    return context(tmp_path)


def grid(*rows: str) -> Tensor:
    return torch.tensor([[[float(c) for c in row] for row in rows]])


@pytest.mark.parametrize("expand", [3, -2, 0])
@pytest.mark.parametrize("tapered", [True, False])
def test_grow_mask_is_a_grey_dilation_or_erosion(expand: int, tapered: bool, here: OpContext) -> None:
    mask = torch.rand(2, 9, 13, generator=torch.Generator().manual_seed(1))
    corner = 0 if tapered else 1
    shape = np.array([[corner, 1, corner], [1, 1, 1], [corner, 1, corner]])
    expected = mask.numpy()
    step = ndimage.grey_dilation if expand > 0 else ndimage.grey_erosion
    for _ in range(abs(expand)):
        expected = np.stack([step(plane, footprint=shape) for plane in expected])
    assert torch.equal(ops.grow_mask(here, mask, expand, tapered), torch.from_numpy(expected))


def test_feather_mask_by_hand(here: OpContext) -> None:
    faded = ops.feather_mask(here, torch.ones(1, 1, 6), 2, 0, 0, 0)
    assert torch.equal(faded[0, 0], torch.tensor([0.5, 1.0, 1.0, 1.0, 1.0, 1.0]))
    right = ops.feather_mask(here, torch.ones(1, 1, 6), 0, 0, 2, 0)
    assert torch.equal(right[0, 0], torch.tensor([0.5, 1.0, 1.0, 1.0, 1.0, 1.0]))  # ComfyUI's off by one
    down = ops.feather_mask(here, torch.ones(1, 4, 1), 0, 0, 0, 4)
    assert torch.equal(down[0, :, 0], torch.tensor([0.25, 1.0, 0.75, 0.5]))


def test_feather_mask_keeps_what_came_in(here: OpContext) -> None:
    mask = torch.ones(1, 4, 4)
    ops.feather_mask(here, mask, 9, 9, 9, 9)
    assert torch.equal(mask, torch.ones(1, 4, 4))


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("multiply", "0001 1000"), ("add", "0111 1011"), ("subtract", "0000 1000"), ("and", "0001 1000"),
        ("or", "0111 1011"), ("xor", "0110 1011"),
    ],
)  # fmt: skip
def test_composite_mask_by_hand(operation: str, expected: str, here: OpContext) -> None:
    """The source is laid on at column 1 and reaches out over the right edge."""
    mask = ops.composite_mask(here, grid("0001", "1000"), grid("1111", "0110"), 1, 0, operation)
    assert torch.equal(mask, grid(*expected.split()))


def test_composite_mask_refuses_what_it_does_not_know(here: OpContext) -> None:
    with pytest.raises(RunError, match=r"expected multiply, add.*got nand"):
        ops.composite_mask(here, grid("0"), grid("0"), 0, 0, "nand")


def test_crop_mask_cuts_and_refuses_to_cut_outside(here: OpContext) -> None:
    mask = torch.arange(12.0).reshape(1, 3, 4)
    assert torch.equal(ops.crop_mask(here, mask, 1, 1, 2, 9), torch.tensor([[[5.0, 6.0], [9.0, 10.0]]]))
    with pytest.raises(RunError, match=r"no pixel from \(4, 0\) on: got 4x3"):
        ops.crop_mask(here, mask, 4, 0, 2, 2)


def test_masks_and_pictures_turn_into_each_other(here: OpContext) -> None:
    image = torch.rand(2, 3, 4, 4)
    for index, channel in enumerate(("red", "green", "blue", "alpha")):
        assert torch.equal(ops.image_to_mask(here, image, channel), image[..., index])
    with pytest.raises(RunError, match=r"no alpha channel: expected red, green, blue; .*MASK output of LoadImage"):
        ops.image_to_mask(here, image[..., :3], "alpha")
    mask = torch.rand(2, 3, 4)
    assert torch.equal(ops.mask_to_image(here, mask), torch.stack([mask] * 3, dim=-1))


def test_simple_masks(here: OpContext) -> None:
    assert torch.equal(ops.invert_mask(here, grid("01")), grid("10"))
    assert torch.equal(ops.threshold_mask(here, torch.tensor([[[0.4, 0.5, 0.6]]]), 0.5), grid("001"))
    assert torch.equal(ops.solid_mask(here, 0.5, 3, 2), torch.full((1, 2, 3), 0.5))


def test_load_mask_takes_a_channel_and_turns_alpha_round(here: OpContext) -> None:
    picture = Image.new("RGBA", (3, 2), (255, 128, 0, 64))
    picture.save(here.input_dir / "a.png")
    for channel, value in (("red", 1.0), ("green", 128 / 255), ("blue", 0.0), ("alpha", 1 - 64 / 255)):
        torch.testing.assert_close(load_mask(here, "a.png", channel), torch.full((1, 2, 3), value))
    picture.convert("RGB").save(here.input_dir / "b.png")
    assert torch.equal(load_mask(here, "b.png", "alpha"), torch.zeros(1, 2, 3))  # opaque all over
    (here.input_dir / "c.png").write_bytes(b"no picture")
    with pytest.raises(RunError, match="cannot read"):
        load_mask(here, "c.png", "red")
