"""CLIP token ids of captions, and the short list of those that captions use.

The text encoder has CLIP's whole vocabulary of 49,408, of which captions use a few hundred. Training keeps rows for
these alone and one more, row 0, for every other token; `training.pack` writes the same to the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from runtime.text.bpe import END_TOKEN, START_TOKEN, encode
from training.captions import caption
from training.scenes import draw_scene

LENGTH = 77
VOCABULARY = 49408
_WORD = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")


@cache
def _word(word: str) -> tuple[int, ...]:
    return tuple(encode(word))


def ids(text: str) -> list[int]:
    """The ids of a caption without start and end. Captions are plain lower-case words, which BPE takes one by one."""
    return [i for word in _WORD.findall(text) for i in _word(word)]


def rows_of(texts: Iterable[str]) -> NDArray[np.int64]:
    """(N, 77) token ids, as the product's tokenizer lays them out: start, text, end, end ..."""
    rows = []
    for text in texts:
        row = [START_TOKEN, *ids(text)[: LENGTH - 2], END_TOKEN]
        rows.append(row + [END_TOKEN] * (LENGTH - len(row)))
    return np.array(rows, dtype=np.int64)


@cache
def known() -> tuple[int, ...]:
    """The ids that captions use, ascending: those of 20,000 captions of a fixed seed, which meet every word."""
    rng = np.random.default_rng(2026)
    found = {START_TOKEN, END_TOKEN}
    for _ in range(20_000):
        found.update(ids(caption(rng, draw_scene(rng))))
    return tuple(sorted(found))


@cache
def lookup() -> NDArray[np.int64]:
    """(49408,): CLIP id -> row of the short table; row 0 is every unknown token."""
    table = np.zeros(VOCABULARY, dtype=np.int64)
    for row, token in enumerate(known(), 1):
        table[token] = row
    return table
