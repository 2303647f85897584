"""First-order steps of the probability flow ODE, without and with fresh noise.

Source: Karras et al. 2022, arXiv 2206.00364, algorithm 1 without its correction. The split: see ancestral_step.
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


def euler(x: Tensor, sigmas: Tensor) -> Sampler:
    """One straight step per interval. Equals DDIM (Song et al. 2021, eq. 12 with its sigma 0) in this view."""
    for sigma, sigma_next in pairwise(sigmas):
        denoised = (yield x, sigma).denoised
        x = x + slope(x, sigma, denoised) * (sigma_next - sigma)
    return x


def euler_ancestral(
    x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path, eta: float = 1.0, s_noise: float = 1.0
) -> Sampler:
    """Euler down to sigma_down, then fresh noise of sigma_up. eta: how much of the noise is fresh."""
    for sigma, sigma_next in pairwise(sigmas):
        denoised = (yield x, sigma).denoised
        down, up, kept = renoised(path, sigma, sigma_next, eta)
        x = x + slope(x, sigma, denoised) * (down - sigma)
        if sigma_next > 0:
            x = kept * x + noise(sigma, sigma_next) * (s_noise * up)
    return x
