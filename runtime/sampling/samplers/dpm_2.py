"""Second-order steps through the middle of each interval in log sigma.

Source: DPM-Solver-2, Lu et al. 2022, arXiv 2206.00927, algorithm 1 (r = 1/2), with Karras' slopes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from runtime.sampling.sampler import renoised, slope

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import Path
    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler


def dpm_2(x: Tensor, sigmas: Tensor) -> Sampler:
    for sigma, sigma_next in pairwise(sigmas):
        x = yield from _midpoint(x, sigma, sigma_next)
    return x


def dpm_2_ancestral(x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path) -> Sampler:
    for sigma, sigma_next in pairwise(sigmas):
        down, up, kept = renoised(path, sigma, sigma_next)
        x = yield from _midpoint(x, sigma, down)
        if down != 0:
            x = kept * x + noise(sigma, sigma_next) * up
    return x


def _midpoint(x: Tensor, sigma: Tensor, end: Tensor) -> Sampler:
    """From sigma to end by the slope at their geometric mean; Euler where end is 0."""
    d = slope(x, sigma, (yield x, sigma).denoised)
    if end == 0:
        return x + d * (end - sigma)
    middle = sigma.log().lerp(end.log(), 0.5).exp()
    halfway = x + d * (middle - sigma)
    d = slope(halfway, middle, (yield halfway, middle).denoised)
    return x + d * (end - sigma)
