"""Scenes and captions from worker processes, in numbered chunks; pictures are drawn where the training is."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import numpy as np
from numpy.typing import NDArray

from training.captions import caption
from training.render import Batch, encode
from training.scenes import Scene, draw_scene
from training.tokens import lookup, rows_of

CHUNK = 2048
_UNKNOWN_SHARE = 0.04  # captions with a word that the model does not know somewhere


@dataclass(frozen=True)
class Chunk:
    """pictures to draw, and tokens: (CHUNK, 77) rows of the short table."""

    batch: Batch
    tokens: NDArray[np.int64]


def make_chunk(rng: np.random.Generator, count: int = CHUNK, pairs: float = 0.0) -> Chunk:
    scenes = [draw_scene(rng, pairs=pairs) for _ in range(count)]
    return Chunk(encode(scenes), tokens_of(rng, scenes))


def tokens_of(rng: np.random.Generator, scenes: list[Scene]) -> NDArray[np.int64]:
    tokens = lookup()[rows_of(caption(rng, scene) for scene in scenes)]
    for row in np.flatnonzero(rng.random(len(scenes)) < _UNKNOWN_SHARE):
        length = int(np.argmax(tokens[row] == tokens[row, -1]))  # of start and text
        at = int(rng.integers(1, length + 1))
        tokens[row] = np.concatenate([tokens[row, :at], [0], tokens[row, at:-1]])
    return tokens


def chunks(seed: int, workers: int, pairs: float = 0.0) -> Iterator[Chunk]:
    """Without end. workers 0: made here. pairs: see draw_scene. The seed fixes the order."""
    if not workers:
        number = 0
        while True:
            yield make_chunk(np.random.default_rng((seed, number)), pairs=pairs)
            number += 1
    lookup()
    context = multiprocessing.get_context("fork")
    queues = [context.Queue(maxsize=3) for _ in range(workers)]
    processes: list[BaseProcess] = [
        context.Process(target=_work, args=(queue, seed, i, workers, pairs), daemon=True)
        for i, queue in enumerate(queues)
    ]
    for process in processes:
        process.start()
    try:
        while True:
            for queue in queues:
                yield queue.get()
    finally:
        for process in processes:
            process.terminate()


def _work(queue: multiprocessing.Queue[Chunk], seed: int, first: int, stride: int, pairs: float) -> None:
    number = first
    while True:
        queue.put(make_chunk(np.random.default_rng((seed, number)), pairs=pairs))
        number += stride
