"""Encoded texts joined and mixed."""

from __future__ import annotations

import torch

from runtime.ops.embeddings import average_texts, join_texts, zero_text
from tests.runtime.sampling_fixtures import context

HERE = context({})
ONE, TWO = torch.full((1, 77, 4), 1.0), torch.full((1, 154, 4), 3.0)


def test_joined_texts_stand_one_after_the_other() -> None:
    assert torch.equal(join_texts(HERE, ONE, TWO), torch.cat([ONE, TWO], dim=1))


def test_an_average_has_the_length_of_the_first() -> None:
    assert torch.equal(average_texts(HERE, ONE, TWO, 0.25), torch.full((1, 77, 4), 2.5))
    longer = average_texts(HERE, TWO, ONE, 0.25)
    assert torch.equal(longer, torch.cat([torch.full((1, 77, 4), 1.5), torch.full((1, 77, 4), 0.75)], dim=1))
    assert torch.equal(average_texts(HERE, ONE[:, 0], TWO[:, 0], 0.5), torch.full((1, 4), 2.0)), "pooled vectors"


def test_a_zero_text_is_zero() -> None:
    assert not zero_text(HERE, TWO).any()
