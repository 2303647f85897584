"""SEEDS: single-step exponential integrators of the reverse SDE, of two and three stages.

Source: Gonzalez et al. 2023, arXiv 2305.14267, algorithms 2 and 3 in the data-prediction form; lambda is half the
path's log-SNR, eta = 1. The stages of one step share their noise: a later stage sees the earlier one's, decayed.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import Path
    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler


def seeds_2(x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path) -> Sampler:
    """Stages at 0 and a half of the step in lambda."""
    for sigma, sigma_next in pairwise(path.with_finite_snr(sigmas)):
        denoised = (yield x, sigma).denoised
        if sigma_next == 0:
            return denoised
        lam, h = path.half_log_snr(sigma), path.half_log_snr(sigma_next) - path.half_log_snr(sigma)
        middle = path.sigma_of(lam + 0.5 * h)
        first, second = noise(sigma, middle), noise(middle, sigma_next)
        fresh = _fresh(0.5 * h)
        halfway = _decay(x, sigma, middle, 0.5 * h) - path.alpha(middle) * (-h).expm1() * denoised
        halfway = halfway + middle * fresh * first
        denoised = (yield halfway, middle).denoised
        x = _decay(x, sigma, sigma_next, h) - path.alpha(sigma_next) * (-2 * h).expm1() * denoised
        x = x + sigma_next * ((-0.5 * h).exp() * fresh * first + fresh * second)
    return x


def seeds_3(x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path) -> Sampler:
    """Stages at 0, one third and two thirds of the step in lambda."""
    for sigma, sigma_next in pairwise(path.with_finite_snr(sigmas)):
        denoised = (yield x, sigma).denoised
        if sigma_next == 0:
            return denoised
        lam, h = path.half_log_snr(sigma), path.half_log_snr(sigma_next) - path.half_log_snr(sigma)
        r1, r2 = 1 / 3, 2 / 3
        one, two = path.sigma_of(lam + r1 * h), path.sigma_of(lam + r2 * h)
        a, b, c = noise(sigma, one), noise(one, two), noise(two, sigma_next)
        fresh = _fresh(r1 * h)
        keep_1, keep_2 = (-r1 * h).exp(), (-r2 * h).exp()
        gain_2, gain_3 = (-2 * r2 * h).expm1(), (-2 * h).expm1()

        state = _decay(x, sigma, one, r1 * h) - path.alpha(one) * (-2 * r1 * h).expm1() * denoised + one * fresh * a
        change = (yield state, one).denoised - denoised
        alpha = path.alpha(two)
        state = _decay(x, sigma, two, r2 * h) - alpha * gain_2 * denoised
        state = state + alpha * (r2 / r1 * (gain_2 / (2 * r2 * h) + 1)) * change
        state = state + two * fresh * (keep_1 * a + b)
        change = (yield state, two).denoised - denoised
        alpha = path.alpha(sigma_next)
        x = _decay(x, sigma, sigma_next, h) - alpha * gain_3 * denoised + alpha * ((gain_3 / (2 * h) + 1) / r2) * change
        x = x + sigma_next * fresh * (keep_2 * a + keep_1 * b + c)
    return x


def _decay(x: Tensor, sigma: Tensor, end: Tensor, h: Tensor) -> Tensor:
    """What is left of the state after h in lambda."""
    return end / sigma * (-h).exp() * x


def _fresh(h: Tensor) -> Tensor:
    """The share of fresh noise over h in lambda."""
    return (-2 * h).expm1().neg().sqrt()
