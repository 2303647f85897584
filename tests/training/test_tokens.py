"""Training and product agree on what a caption's tokens are."""

from __future__ import annotations

import numpy as np

from runtime.text.bpe import END_TOKEN, START_TOKEN
from runtime.text.chunks import tokenize
from training.captions import caption
from training.feed import make_chunk, tokens_of
from training.scenes import draw_scene
from training.tokens import LENGTH, VOCABULARY, known, lookup, rows_of


def captions(seed: int, count: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [caption(rng, draw_scene(rng, held_out=bool(i % 2)), plain=bool(i % 3)) for i in range(count)]


def test_rows_are_those_of_the_products_tokenizer() -> None:
    texts = ["", *captions(1, 500)]
    assert len(set(texts)) > 480
    for text, row in zip(texts, rows_of(texts), strict=True):
        (chunk,) = tokenize(text)
        assert chunk.slots == tuple(row.tolist()), text
        assert set(chunk.weights) == {1.0}


def test_every_word_of_held_out_captions_is_known_too() -> None:
    used = set(rows_of(captions(2, 500)).flatten().tolist())
    assert used <= set(known())
    assert {START_TOKEN, END_TOKEN} <= set(known())


def test_the_short_table_numbers_known_tokens_and_sends_all_others_to_row_0() -> None:
    table = lookup()
    assert table.shape == (VOCABULARY,)
    assert table[list(known())].tolist() == list(range(1, len(known()) + 1))
    assert np.count_nonzero(table) == len(known())


def test_some_captions_hold_one_unknown_word_and_keep_the_others_in_order() -> None:
    rng = np.random.default_rng(3)
    scenes = [draw_scene(rng) for _ in range(300)]
    rows = tokens_of(np.random.default_rng(4), scenes)
    assert rows.shape == (300, LENGTH)
    unknown = (rows == 0).sum(axis=1)
    assert set(unknown.tolist()) == {0, 1}
    assert 2 <= np.count_nonzero(unknown) <= 30
    assert (rows[:, 0] == lookup()[START_TOKEN]).all()
    assert (rows[:, -1] == lookup()[END_TOKEN]).all()


def test_chunks_are_reproducible() -> None:
    one, same, other = (make_chunk(np.random.default_rng((5, number)), 32) for number in (0, 0, 1))
    assert np.array_equal(one.tokens, same.tokens)
    assert np.array_equal(one.batch.things, same.batch.things)
    assert not np.array_equal(one.tokens, other.tokens)
