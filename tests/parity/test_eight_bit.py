"""Explaining a difference by values beside an 8-bit step: finds the one that differs, and forgives nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from runtime.ops import resize
from tests.parity.cases import all_cases
from tests.parity.comparison import Distance
from tests.parity.eight_bit import Flip, explained, near_a_step, observed, other_side

CASE = all_cases()[0]
VALUES = torch.tensor([0.0, 100.5, 204.9999, 205.0, 204.99, 31.001, 255.0, 0.0005, 254.9995])


def lanczos(values: torch.Tensor) -> list[int]:
    """What arrives behind the conversion: a picture scaled to its own size."""
    out = resize.resample((values / 255).reshape(1, 1, 3, 3), 3, 3, "lanczos")
    return [round(v) for v in (out * 255).flatten().tolist()]


def test_values_beside_a_step_are_found_but_not_where_pictures_are_cut() -> None:
    assert near_a_step(VALUES.numpy()).tolist() == [2, 3, 5, 8]


@pytest.mark.parametrize(("value", "other"), [(204.9999, 205), (205.0, 204), (205.001, 204), (254.9995, 255)])
def test_the_other_side(value: float, other: int) -> None:
    assert other_side(value) == other
    assert int(np.trunc(value)) != other


def test_a_flip_changes_its_value_and_no_other_one() -> None:
    with observed() as seen:
        plain = lanczos(VALUES)
    assert (seen.values, seen.calls) == (9, 1)
    (below,) = (flip for flip in seen.near if flip.index == 2)
    with observed((below,)):
        flipped = lanczos(VALUES)
    assert [b - a for a, b in zip(plain, flipped, strict=True)] == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert lanczos(VALUES) == plain


def run_that_differs_in(index: int) -> Distance:
    """A case whose recorded picture has the value at `index` on the other side, and nothing else."""
    wanted = lanczos(VALUES)
    wanted[index] += 1
    with observed() as seen:
        as_run = Distance(latent=1.0)

        def again() -> Distance:
            return Distance(latent=max(abs(a - b) for a, b in zip(lanczos(VALUES), wanted, strict=True)))

        lanczos(VALUES)
    return explained(CASE, as_run, again, seen.near)[0]


def test_a_difference_by_truncation_is_explained_and_another_is_not() -> None:
    assert run_that_differs_in(2).within(CASE)
    assert not run_that_differs_in(1).within(CASE)


def test_nothing_is_tried_where_too_many_values_are_beside_a_step() -> None:
    near = [Flip(0, i, 1.0) for i in range(65)]
    assert explained(CASE, Distance(latent=1.0), lambda: Distance(), near) == (Distance(latent=1.0), ())


def test_a_flip_reaches_its_value_in_a_picture_of_any_layout() -> None:
    """torch's decoder gives channels last as a view: the conversion keeps that layout."""
    picture = VALUES.reshape(1, 3, 3, 1).expand(1, 3, 3, 2).permute(0, 3, 1, 2).numpy()
    index = 9 + 2  # the same value in the second channel
    with observed((Flip(0, index, 204.9999),)):
        flipped = resize.eight_bit(np.asfortranarray(picture))
    changed = np.flatnonzero(flipped.reshape(-1) != resize.eight_bit(picture).reshape(-1))
    assert changed.tolist() == [index]
