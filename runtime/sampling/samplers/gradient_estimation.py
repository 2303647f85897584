"""Gradient estimation: Euler with the slope corrected by how it changed since the last step.

Source: Permenter & Yuan 2024, arXiv 2306.04848, algorithm 2 (second-order sampling), gamma = 2; the CFG++ form takes
the slope to the unconditional prediction (see cfg_pp).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from runtime.sampling.sampler import slope

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.sampler import Sampler

GAMMA = 2.0


def gradient_estimation(x: Tensor, sigmas: Tensor) -> Sampler:
    return (yield from _sample(x, sigmas, cfg_pp=False))


def gradient_estimation_cfg_pp(x: Tensor, sigmas: Tensor) -> Sampler:
    return (yield from _sample(x, sigmas, cfg_pp=True))


def _sample(x: Tensor, sigmas: Tensor, cfg_pp: bool) -> Sampler:
    old: Tensor | None = None
    for sigma, sigma_next in pairwise(sigmas):
        prediction = yield x, sigma
        denoised = prediction.denoised
        if sigma_next == 0:
            return denoised
        d = slope(x, sigma, prediction.unguided if cfg_pp else denoised)
        h = sigma_next - sigma
        x = denoised + d * sigma_next if cfg_pp else x + d * h
        if old is not None:
            x = x + (GAMMA - 1) * (d - old) * h
        old = d
    return x
