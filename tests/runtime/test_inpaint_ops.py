"""Noise masks and greyed pictures, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from runtime.context import OpContext
from runtime.ops.inpaint import grey_out, set_noise_mask
from runtime.values import Latent
from tests.runtime.op_context import context


@pytest.fixture
def here(tmp_path: Path) -> OpContext:
    return context(tmp_path)


def test_set_noise_mask_keeps_samples_and_batch_index(here: OpContext) -> None:
    latent = Latent(torch.zeros(1, 4, 2, 3), None, (5,))
    masked = set_noise_mask(here, latent, torch.rand(2, 16, 24))
    assert masked.samples is latent.samples
    assert masked.batch_index == (5,)
    assert masked.noise_mask is not None
    assert masked.noise_mask.shape == (2, 1, 16, 24)


def test_what_the_rounded_mask_covers_is_grey(here: OpContext) -> None:
    image = torch.rand(1, 8, 16, 3)
    mask = torch.zeros(1, 8, 16)
    mask[:, :, :4], mask[:, :, 4:8] = 1.0, 0.4  # 0.4 rounds to 0
    greyed, grown = grey_out(here, image, mask, 0)
    assert torch.equal(greyed[:, :, :4], torch.full((1, 8, 4, 3), 0.5))
    torch.testing.assert_close(greyed[:, :, 4:], image[:, :, 4:])
    assert torch.equal(grown, mask.round())


@pytest.mark.parametrize(("grow", "columns"), [(0, "00010000"), (1, "00010000"), (2, "00011000"), (3, "00111000")])
def test_the_mask_grows_by_a_square(grow: int, columns: str, here: OpContext) -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, 3, 3] = 1.0
    _, grown = grey_out(here, torch.zeros(1, 8, 8, 3), mask, grow)
    expected = torch.tensor([float(c) for c in columns])
    assert torch.equal(grown, (expected[:, None] * expected).unsqueeze(0))


def test_both_are_cut_to_multiples_of_8_about_the_centre(here: OpContext) -> None:
    image = torch.rand(1, 13, 20, 3)
    mask = torch.rand(1, 13, 20).round()
    greyed, grown = grey_out(here, image, mask, 0)
    assert greyed.shape == (1, 8, 16, 3)
    assert torch.equal(grown, mask[:, 2:10, 2:18])
    kept = mask[:, 2:10, 2:18] == 0
    torch.testing.assert_close(greyed[kept], image[:, 2:10, 2:18][kept])


def test_a_mask_of_another_size_is_fitted(here: OpContext) -> None:
    mask = torch.zeros(1, 4, 4)
    mask[:, :, 2:] = 1.0
    greyed, grown = grey_out(here, torch.ones(1, 16, 16, 3), mask, 0)
    assert torch.equal(grown[0, 0], torch.tensor([0.0] * 8 + [1.0] * 8))
    assert torch.equal(greyed[..., 8:, :], torch.full((1, 16, 8, 3), 0.5))
