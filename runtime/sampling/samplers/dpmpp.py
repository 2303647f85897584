"""DPM-Solver++ on the data prediction: single-step with fresh noise, and multistep.

Source: Lu et al. 2022, arXiv 2211.01095; alpha = 1, lambda = -log sigma.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from runtime.sampling.sampler import ancestral_step, from_log_snr, log_snr

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler


def dpmpp_2s_ancestral(x: Tensor, sigmas: Tensor, noise: StepNoise, eta: float = 1.0, s_noise: float = 1.0) -> Sampler:
    """Algorithm 1 (2S, r = 1/2) from sigma to sigma_down, then fresh noise of sigma_up."""
    for sigma, sigma_next in pairwise(sigmas):
        denoised = (yield x, sigma).denoised
        down, up = ancestral_step(sigma, sigma_next, eta)
        if down == 0:
            x = denoised
            continue
        t, h = log_snr(sigma), log_snr(down) - log_snr(sigma)
        middle = from_log_snr(t + 0.5 * h)
        halfway = (middle / sigma) * x - (-h * 0.5).expm1() * denoised
        denoised = (yield halfway, middle).denoised
        x = (down / sigma) * x - (-h).expm1() * denoised
        x = x + noise(sigma, sigma_next) * (s_noise * up)
    return x


def dpmpp_2m(x: Tensor, sigmas: Tensor) -> Sampler:
    """Algorithm 2 (2M): the last two data predictions, extrapolated to the middle of the step."""
    old: Tensor | None = None
    h_last: Tensor | None = None
    for sigma, sigma_next in pairwise(sigmas):
        denoised = (yield x, sigma).denoised
        h = log_snr(sigma_next) - log_snr(sigma)
        if old is None or h_last is None or sigma_next == 0:
            mix = denoised
        else:
            r = h_last / h
            mix = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * old
        x = (sigma_next / sigma) * x - (-h).expm1() * mix
        old, h_last = denoised, h
    return x
