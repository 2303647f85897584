"""DDPM's posterior step, and the latent consistency model's jump."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import Path
    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler


def ddpm(x: Tensor, sigmas: Tensor, noise: StepNoise) -> Sampler:
    """Ho et al. 2020, arXiv 2006.11239, algorithm 2 with the posterior variance of eq. 7, on any subsequence of steps.

    It works on the variance-preserving state x / sqrt(1 + sigma^2), with sigma the noise over the share of the data."""
    for sigma, sigma_next in pairwise(sigmas):
        eps = (x - (yield x, sigma).denoised) / sigma
        product, product_next = 1 / (sigma**2 + 1), 1 / (sigma_next**2 + 1)
        alpha = product / product_next
        state = x / (1.0 + sigma**2) ** 0.5
        state = (1.0 / alpha) ** 0.5 * (state - (1 - alpha) * eps / (1 - product) ** 0.5)
        if sigma_next > 0:
            variance = (1 - alpha) * (1 - product_next) / (1 - product)
            state = state + variance**0.5 * noise(sigma, sigma_next)
        x = state * (1.0 + sigma_next**2) ** 0.5
    return x


def lcm(x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path) -> Sampler:
    """Jump to the prediction, noise it again. Source: Luo et al. 2023, arXiv 2310.04378, algorithm 3."""
    for sigma, sigma_next in pairwise(sigmas):
        x = (yield x, sigma).denoised
        if sigma_next > 0:
            x = path.alpha(sigma_next) * x + sigma_next * noise(sigma, sigma_next)
    return x
