"""SDE-DPM-Solver++: data-prediction exponential integrators of the reverse SDE, noise from one Brownian path.

Source: Lu et al. 2022, arXiv 2211.01095, appendix B (SDE-DPM-Solver++); the single-step and third-order forms are those
of k-diffusion (Katherine Crowson, MIT). alpha = 1, lambda = -log sigma; eta = 1: the noise of the reverse SDE.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from runtime.sampling.sampler import ancestral_step, from_log_snr, log_snr

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler

ETA = 1.0


def dpmpp_sde(x: Tensor, sigmas: Tensor, noise: StepNoise) -> Sampler:
    """Two stages: an ancestral step to the middle in log sigma, then the whole step with what is seen there."""
    for sigma, sigma_next in pairwise(sigmas):
        denoised = (yield x, sigma).denoised
        if sigma_next == 0:
            x = denoised
            continue
        t = log_snr(sigma)
        middle = from_log_snr(t + (log_snr(sigma_next) - t) * 0.5)
        down, up = ancestral_step(sigma, middle, ETA)
        halfway = (down / sigma) * x - (t - log_snr(down)).expm1() * denoised
        halfway = halfway + noise(sigma, middle) * up
        denoised = (yield halfway, middle).denoised
        down, up = ancestral_step(sigma, sigma_next, ETA)
        x = (down / sigma) * x - (t - log_snr(down)).expm1() * denoised
        x = x + noise(sigma, sigma_next) * up
    return x


def dpmpp_2m_sde(x: Tensor, sigmas: Tensor, noise: StepNoise) -> Sampler:
    """Multistep of order 2, the midpoint form (the paper's 2M)."""
    return (yield from _second_order(x, sigmas, noise, heun=False))


def dpmpp_2m_sde_heun(x: Tensor, sigmas: Tensor, noise: StepNoise) -> Sampler:
    """Multistep of order 2 with the exact weight of a linear data prediction in place of the midpoint's."""
    return (yield from _second_order(x, sigmas, noise, heun=True))


def _second_order(x: Tensor, sigmas: Tensor, noise: StepNoise, heun: bool) -> Sampler:
    old: Tensor | None = None
    h_last: Tensor | None = None
    for sigma, sigma_next in pairwise(sigmas):
        denoised = (yield x, sigma).denoised
        if sigma_next == 0:
            return denoised
        h = log_snr(sigma_next) - log_snr(sigma)
        h_eta = h * (ETA + 1)
        gain = (-h_eta).expm1().neg()
        x = sigma_next / sigma * (-h * ETA).exp() * x + gain * denoised
        if old is not None and h_last is not None:
            weight = 1 - gain / h_eta if heun else 0.5 * gain
            x = x + weight * (h / h_last) * (denoised - old)
        x = x + noise(sigma, sigma_next) * sigma_next * (-2 * h * ETA).expm1().neg().sqrt()
        old, h_last = denoised, h
    return x


def dpmpp_3m_sde(x: Tensor, sigmas: Tensor, noise: StepNoise) -> Sampler:
    """Multistep of order 3: value, slope and curvature of the data prediction in lambda from the last three."""
    past: list[tuple[Tensor, Tensor]] = []  # (denoised, step after it), newest first
    for sigma, sigma_next in pairwise(sigmas):
        denoised = (yield x, sigma).denoised
        if sigma_next == 0:
            return denoised
        h = log_snr(sigma_next) - log_snr(sigma)
        h_eta = h * (ETA + 1)
        x = (-h_eta).exp() * x + (-h_eta).expm1().neg() * denoised
        phi_2 = (-h_eta).expm1() / h_eta + 1
        if len(past) == 1:
            x = x + phi_2 * ((denoised - past[0][0]) / (past[0][1] / h))
        elif past:
            (first, h_1), (second, h_2) = past
            r0, r1 = h_1 / h, h_2 / h
            near, far = (denoised - first) / r0, (first - second) / r1
            slope = near + (near - far) * r0 / (r0 + r1)
            curve = (near - far) / (r0 + r1)
            x = x + phi_2 * slope - (phi_2 / h_eta - 0.5) * curve
        x = x + noise(sigma, sigma_next) * sigma_next * (-2 * h * ETA).expm1().neg().sqrt()
        past = [(denoised, h), *past][:2]
    return x
