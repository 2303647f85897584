"""Plain picture and latent ops, worked out by hand; those that ComfyUI recorded: test_recorded_nodes.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy import ndimage
from torch import Tensor

from graphs.errors import RunError
from runtime.context import OpContext
from runtime.ops import latent_edits, pictures
from runtime.values import Latent
from tests.runtime.op_context import context


@pytest.fixture
def here(tmp_path: Path) -> OpContext:
    return context(tmp_path)


def ramp(height: int, width: int, batch: int = 1) -> Tensor:
    """(B, h, w, 3), every value another one."""
    return torch.arange(batch * height * width * 3, dtype=torch.float32).reshape(batch, height, width, 3) / 1000


def latent(*values: float, units: int = 8, places: tuple[int, ...] | None = None, mask: Tensor | None = None) -> Latent:
    """One sample of 4 channels for each value."""
    samples = torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, 4, units, units).clone()
    return Latent(samples, mask, places)


def test_crop_keeps_its_corner_inside(here: OpContext) -> None:
    image = ramp(4, 6)
    assert torch.equal(pictures.crop_image(here, image, 2, 3, 1, 1), image[:, 1:4, 1:3])
    assert torch.equal(pictures.crop_image(here, image, 9, 9, 99, 99), image[:, 3:, 5:])


def test_flips_and_turns(here: OpContext) -> None:
    image = ramp(2, 3)
    assert torch.equal(pictures.flip_image(here, image, "x-axis: vertically"), image[:, [1, 0]])
    assert torch.equal(pictures.flip_image(here, image, "y-axis: horizontally"), image[:, :, [2, 1, 0]])
    turned = pictures.rotate_image(here, image, "90 degrees")  # the lower left corner comes to the upper left
    assert torch.equal(turned[0, 0], image[0, [1, 0], 0])
    assert torch.equal(pictures.rotate_image(here, image, "180 degrees"), image.flip((1, 2)))
    assert torch.equal(pictures.rotate_image(here, image, "none"), image)


def test_a_plain_picture(here: OpContext) -> None:
    image = pictures.empty_image(here, 3, 2, 2, 0x336699)
    assert image.shape == (2, 2, 3, 3)
    assert (image[1, 1, 2] * 255).round().tolist() == [0x33, 0x66, 0x99]
    assert pictures.image_size(here, image) == (3, 2, 2)


def test_sharpening_keeps_flat_places_and_answers_an_edge(here: OpContext) -> None:
    flat = torch.full((1, 9, 9, 3), 0.4)
    assert torch.allclose(pictures.sharpen_image(here, flat, 2, 1.0, 1.0), flat, atol=1e-5)
    edge = torch.zeros(1, 9, 9, 1)
    edge[:, :, 5:] = 0.2
    sharp = pictures.sharpen_image(here, edge, 1, 1.0, 0.1)[0, 4, :, 0]
    assert sharp[5] > 0.2
    assert sharp[4] == 0.0  # cut off below
    assert torch.allclose(sharp[7:], torch.tensor(0.2))


def test_blur_is_a_gaussian_with_mirrored_edges(here: OpContext) -> None:
    image = torch.rand(1, 7, 8, 3, generator=torch.Generator().manual_seed(1))
    kernel = pictures._gaussian(5, 0.7)
    expected = ndimage.convolve(image[0, ..., 1].numpy(), kernel.numpy(), mode="mirror")
    blurred = pictures.blur_image(here, image, 2, 0.7)
    assert torch.allclose(blurred[0, ..., 1], torch.from_numpy(expected), atol=1e-6)
    with pytest.raises(RunError, match="too small for the radius: expected more than 7 pixels a side, got 8x7"):
        pictures.blur_image(here, image, 7, 1.0)


def test_batches_of_pictures(here: OpContext) -> None:
    first, second = ramp(4, 4), torch.full((2, 8, 16, 4), 0.5)
    joined = pictures.batch_images(here, first, second)
    assert joined.shape == (3, 4, 4, 4)
    assert torch.equal(joined[0, ..., 3], torch.ones(4, 4))  # the alpha that it lacked
    assert torch.equal(joined[1:], torch.full((2, 4, 4, 4), 0.5))
    assert torch.equal(pictures.images_from_batch(here, joined, 1, 99), joined[1:])
    assert torch.equal(pictures.images_from_batch(here, joined, -1, 1), joined[2:])
    assert torch.equal(pictures.repeat_images(here, joined, 2), torch.cat((joined, joined)))


def test_alpha_is_split_off_and_joined_again(here: OpContext) -> None:
    see_through = torch.rand(2, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    image, mask = pictures.split_alpha(here, see_through)
    assert torch.allclose(pictures.join_alpha(here, image, mask), see_through, atol=1e-6)
    _, none = pictures.split_alpha(here, image)
    assert torch.equal(none, torch.zeros(2, 4, 4))
    assert len(pictures.join_alpha(here, image, mask[:1])) == 2


def test_composite_without_a_mask_covers_and_stays_inside(here: OpContext) -> None:
    under, over = torch.zeros(1, 4, 4, 3), torch.ones(1, 2, 2, 3)
    laid = pictures.composite_images(here, under, over, 3, -1, False)
    assert laid[0, ..., 0].tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert torch.equal(pictures.composite_images(here, under, over, 0, 0, True), torch.ones(1, 4, 4, 3))
    assert torch.equal(under, torch.zeros(1, 4, 4, 3))


def test_ordinary_arithmetic_of_latents(here: OpContext) -> None:
    total = latent_edits.add_latents(here, latent(1.0, 2.0), latent(10.0, units=4))
    assert total.samples[:, 0, 0, 0].tolist() == [11.0, 12.0]
    mixed = latent_edits.blend_latents(here, latent(1.0), latent(3.0), 0.25)
    assert mixed.samples[0, 0, 0, 0] == 2.5
    same = latent_edits.interpolate_latents(here, latent(0.0), latent(2.0), 0.5)
    assert torch.allclose(same.samples, torch.tensor(1.0))  # nothing has no direction


def test_feathered_composite(here: OpContext) -> None:
    laid = latent_edits.composite_latents(here, latent(0.0, units=6), latent(1.0, units=3), 16, 0, 16)
    # at column 2 of 6, on the upper edge: fades to the left, to the right and below
    assert laid.samples[0, 0, 0].tolist() == [0, 0, 0.5, 1.0, 0.5, 0]
    assert laid.samples[0, 0, 2].tolist() == [0, 0, 0.25, 0.5, 0.25, 0]
    assert laid.samples[0, 0, 3].tolist() == [0] * 6


def test_masked_composite(here: OpContext) -> None:
    mask = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    laid = latent_edits.composite_latents_masked(here, latent(0.0, units=3), latent(1.0, units=2), 8, 8, False, mask)
    assert laid.samples[0, 0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_repeating_moves_the_places_for_noise(here: OpContext) -> None:
    mask = torch.rand(2, 1, 8, 8)
    repeated = latent_edits.repeat_latent(here, latent(1.0, 2.0, places=(3, 5), mask=mask), 3)
    assert repeated.samples[:, 0, 0, 0].tolist() == [1, 2, 1, 2, 1, 2]
    assert repeated.batch_index == (3, 5, 6, 8, 9, 11)
    assert repeated.noise_mask is not None
    assert torch.equal(repeated.noise_mask, torch.cat((mask, mask, mask)))
    assert latent_edits.repeat_latent(here, latent(1.0), 2).batch_index is None


def test_one_of_a_batch_keeps_its_noise(here: OpContext) -> None:
    taken = latent_edits.latent_from_batch(here, latent(1.0, 2.0, 3.0), 1, 9)
    assert (taken.samples[:, 0, 0, 0].tolist(), taken.batch_index) == ([2.0, 3.0], (1, 2))
    assert latent_edits.latent_from_batch(here, latent(1.0, 2.0, places=(7, 9)), -1, 1).batch_index == (9,)
    joined = latent_edits.batch_latents(here, latent(1.0, places=(4,)), latent(2.0, 3.0, units=4))
    assert (joined.samples.shape, joined.batch_index) == ((3, 4, 8, 8), (4, 0, 1))


def test_seed_behaviour(here: OpContext) -> None:
    assert latent_edits.fix_batch_seed(here, latent(1.0, 2.0, places=(4, 5)), "fixed").batch_index == (4, 4)
    assert latent_edits.fix_batch_seed(here, latent(1.0, 2.0, places=(4, 5)), "random").batch_index is None


def test_quantizing_leaves_so_many_colours(here: OpContext) -> None:
    image = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(3))
    for dither in ("none", "floyd-steinberg"):
        reduced = pictures.quantize_image(here, image, 5, dither)
        assert len({tuple(c) for c in reduced.reshape(-1, 3).tolist()}) <= 5
