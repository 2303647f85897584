"""A Brownian path that can be asked for any interval, in any order, and answers from its seed alone.

The path over [start, end] is a binary tree. A node knows its increment W(end) - W(start); its halves follow by the
Brownian bridge: given the increment w over a length h = l + r, the left one is w * l / h + sqrt(l * r / h) * n with a
fresh normal n, and the right one is the rest. The normals of a node come from a generator seeded by the node's place in
the tree, so nothing has to be stored and two queries of one interval agree. SDE samplers need that: a step evaluated
through a midpoint sees noise that adds up.

Source: Kidger et al. 2021, "Efficient and Accurate Gradients for Neural SDEs", arXiv 2105.13493, section 4 (the
Brownian interval), in the dyadic form and with the seeding of the torchsde library (Apache-2.0), whose numbers this
reproduces: times are rounded to 6 decimals, nodes split at their rounded middle, and seeds are words of numpy's
SeedSequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from graphs.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from runtime.sampling.noise import StepNoise

DECIMALS = 6  # the tolerance 1e-6: no two query points closer than this are told apart
POOL_SIZE = 24  # words of SeedSequence's entropy pool


@dataclass(frozen=True)
class _Node:
    """An interval of the tree: its place (left child of k is 2k, right child 2k + 1) and its increment."""

    start: float
    end: float
    place: int
    depth: int
    increment: Tensor


class BrownianPath:
    """Standard Brownian motion of a tensor's shape over [start, end], on the host in float32.

    entropy: the seed. increment(a, b) is W(b) - W(a) for start <= a < b <= end."""

    def __init__(self, shape: Sequence[int], start: float, end: float, entropy: int) -> None:
        if end < start:
            raise RunError(
                "a Brownian path needs an interval", expected="end at or above start", got=f"[{start}, {end}]"
            )
        self._shape = tuple(shape)
        self._entropy = entropy
        seed = np.random.SeedSequence(entropy, pool_size=POOL_SIZE).generate_state(1)[0]
        whole = self._normal(int(seed)) * math.sqrt(end - start)
        self._root = _Node(round(start, DECIMALS), round(end, DECIMALS), 0, 0, whole)

    def increment(self, a: float, b: float) -> Tensor:
        """W(b) - W(a). Points outside the interval count as its ends. Zero where a and b are the same point."""
        root = self._root
        a, b = (round(min(max(t, root.start), root.end), DECIMALS) for t in (a, b))
        if a > b:
            raise RunError("a Brownian increment runs forward", expected=f"b >= {a}", got=str(b))
        if a == b:
            return torch.zeros(self._shape)
        pieces: list[Tensor] = []
        pending = [(root, a, b)]
        while pending:  # depth first, left before right: the pieces come in the order of time
            node, low, high = pending.pop()
            if low == node.start and high == node.end:
                pieces.append(node.increment)
                continue
            left, right = self._halves(node)
            if high > right.start:
                pending.append((right, max(low, right.start), high))
            if low < left.end:
                pending.append((left, low, min(high, left.end)))
        total = pieces[0]
        for piece in pieces[1:]:
            total = total + piece
        return total

    def _halves(self, node: _Node) -> tuple[_Node, _Node]:
        middle = round(0.5 * (node.end + node.start), DECIMALS)
        words = np.random.SeedSequence(self._entropy, spawn_key=(node.place, node.depth), pool_size=POOL_SIZE)
        before, after = middle - node.start, node.end - middle
        over = 1 / (node.end - node.start)
        normal = self._normal(int(words.generate_state(1)[0]))
        left = before * node.increment * over + math.sqrt(before * after * over) * normal
        return (
            _Node(node.start, middle, 2 * node.place, node.depth + 1, left),
            _Node(middle, node.end, 2 * node.place + 1, node.depth + 1, node.increment - left),
        )

    def _normal(self, seed: int) -> Tensor:
        return torch.randn(self._shape, generator=torch.Generator("cpu").manual_seed(seed))


def brownian_noise(
    like: Tensor, sigmas: Tensor, seed: int, transform: Callable[[Tensor], Tensor] | None = None
) -> StepNoise:
    """Step noise cut from one Brownian path over the positive sigmas of a schedule, scaled to unit variance.

    transform: sigma -> the path's time (default: sigma itself). seed: the run's seed, unchanged in every compat."""

    def time(sigma: Tensor) -> Tensor:
        return sigma if transform is None else transform(sigma)

    quiet, loud = float(time(sigmas[sigmas > 0].min())), float(time(sigmas.max()))
    path = BrownianPath(like.shape, min(quiet, loud), max(quiet, loud), seed)
    upward = 1.0 if quiet < loud else -1.0  # increments count from the low sigma to the high one, whatever the time

    def draw(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        here, there = time(sigma), time(sigma_next)
        sign = upward if here < there else -upward
        low, high = sorted((float(here), float(there)))
        scaled = path.increment(low, high) * sign / (there - here).abs().sqrt()
        return scaled.to(like.device, non_blocking=True)

    return draw
