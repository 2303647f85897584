"""Exponential Heun: two stages at the ends of the step, on the data prediction in half the path's log-SNR.

Source: Hochbruck & Ostermann 2010, "Exponential integrators", table 2.2 with c2 = 1 (weights phi_1 - phi_2, phi_2);
with noise the case r = 1 of SEEDS-2, Gonzalez et al. 2023, arXiv 2305.14267, eta = 1. No recorded picture shows it yet.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import Path
    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler


def exp_heun_2_x0(x: Tensor, sigmas: Tensor, path: Path) -> Sampler:
    return (yield from _sample(x, sigmas, None, path))


def exp_heun_2_x0_sde(x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path) -> Sampler:
    return (yield from _sample(x, sigmas, noise, path))


def _sample(x: Tensor, sigmas: Tensor, noise: StepNoise | None, path: Path) -> Sampler:
    """Both stages share the noise of the step."""
    eta = 0 if noise is None else 1
    for sigma, sigma_next in pairwise(path.with_finite_snr(sigmas)):
        denoised = (yield x, sigma).denoised
        if sigma_next == 0:
            return denoised
        h = path.half_log_snr(sigma_next) - path.half_log_snr(sigma)
        rate, alpha = (1 + eta) * h, path.alpha(sigma_next)
        gain = (-rate).expm1().neg()
        kept = sigma_next / sigma * (-eta * h).exp() * x
        if noise is not None:
            kept = kept + noise(sigma, sigma_next) * sigma_next * (-2 * h).expm1().neg().sqrt()
            noise(sigma_next, sigma_next)  # the second stage of SEEDS draws as well, for the empty rest of its step
        second = 1 - gain / rate  # rate * phi_2(-rate)
        end = (yield kept + alpha * gain * denoised, sigma_next).denoised
        x = kept + alpha * ((gain - second) * denoised + second * end)
    return x
