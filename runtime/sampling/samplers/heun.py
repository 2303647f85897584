"""Heun's second-order method and its weighted variant with a look two steps ahead."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from runtime.sampling.sampler import slope

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.sampler import Sampler


def heun(x: Tensor, sigmas: Tensor) -> Sampler:
    """The mean of the slopes at both ends. Source: Karras et al. 2022, arXiv 2206.00364, algorithm 1."""
    for sigma, sigma_next in pairwise(sigmas):
        denoised = (yield x, sigma).denoised
        d, h = slope(x, sigma, denoised), sigma_next - sigma
        if sigma_next != 0:
            ahead = x + d * h
            d = (d + slope(ahead, sigma_next, (yield ahead, sigma_next).denoised)) / 2
        x = x + d * h
    return x


def heunpp2(x: Tensor, sigmas: Tensor) -> Sampler:
    """Slopes at this sigma, the next and the one after, weighted by sigma over the first sigma of the run.

    Source: the Heun++ sampler of sd-webui-samplers-scheduler (Carzit, MIT). Two intervals before the end it looks one
    step ahead, in the last interval it is Euler."""
    last = len(sigmas) - 1
    for i in range(last):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = (yield x, sigma).denoised
        d, h = slope(x, sigma, denoised), sigma_next - sigma
        if i == last - 1:
            x = x + d * h
            continue
        x2 = x + d * h
        d2 = slope(x2, sigma_next, (yield x2, sigma_next).denoised)
        if i == last - 2:
            w2 = sigma_next / (2 * sigmas[0])
            x = x + (d * (1 - w2) + d2 * w2) * h
            continue
        x3 = x2 + d2 * (sigmas[i + 2] - sigma_next)
        d3 = slope(x3, sigmas[i + 2], (yield x3, sigmas[i + 2]).denoised)
        w2, w3 = sigma_next / (3 * sigmas[0]), sigmas[i + 2] / (3 * sigmas[0])
        x = x + (d * (1 - w2 - w3) + d2 * w2 + d3 * w3) * h
    return x
