"""CFG++: the noise that is put back comes from the unconditional prediction, the target from the guided one.

Source: Chung et al. 2024, arXiv 2406.08070, algorithm 2; alpha = 1. The multistep and single-step forms carry the same
idea into DPM-Solver++ (see dpmpp): where those have x - (guided), these have x - (uncond).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from runtime.sampling.sampler import ancestral_step, from_log_snr, log_snr, slope

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler


def euler_cfg_pp(x: Tensor, sigmas: Tensor) -> Sampler:
    for sigma, sigma_next in pairwise(sigmas):
        prediction = yield x, sigma
        x = prediction.denoised + slope(x, sigma, prediction.unguided) * sigma_next
    return x


def euler_ancestral_cfg_pp(
    x: Tensor, sigmas: Tensor, noise: StepNoise, eta: float = 1.0, s_noise: float = 1.0
) -> Sampler:
    for sigma, sigma_next in pairwise(sigmas):
        prediction = yield x, sigma
        down, up = ancestral_step(sigma, sigma_next, eta)
        x = prediction.denoised + slope(x, sigma, prediction.unguided) * down
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * (s_noise * up)
    return x


def dpmpp_2m_cfg_pp(x: Tensor, sigmas: Tensor) -> Sampler:
    old: Tensor | None = None
    h_last: Tensor | None = None
    for sigma, sigma_next in pairwise(sigmas):
        prediction = yield x, sigma
        h = log_snr(sigma_next) - log_snr(sigma)
        decay = (-h).exp()
        x_next = prediction.denoised + decay * (x - prediction.unguided)
        if old is not None and h_last is not None and sigma_next != 0:
            x_next = x_next - (-h).expm1() * (h / (2 * h_last)) * (prediction.denoised - old)
        x, old, h_last = x_next, prediction.unguided, h
    return x


def dpmpp_2s_ancestral_cfg_pp(x: Tensor, sigmas: Tensor, noise: StepNoise) -> Sampler:
    """The second stage moves from the guided prediction at the start to the unconditional one in the middle, as ComfyUI
    is observed to do; without guidance it is therefore not quite dpmpp_2s_ancestral."""
    for sigma, sigma_next in pairwise(sigmas):
        prediction = yield x, sigma
        denoised = prediction.denoised
        down, up = ancestral_step(sigma, sigma_next)
        if down == 0:
            x = denoised
            continue
        t, h = log_snr(sigma), log_snr(down) - log_snr(sigma)
        middle = from_log_snr(t + 0.5 * h)
        halfway = (middle / sigma) * (x + (denoised - prediction.unguided)) - (-h * 0.5).expm1() * denoised
        inner = yield halfway, middle
        x = (down / sigma) * (x + (denoised - inner.unguided)) - (-h).expm1() * inner.denoised
        x = x + noise(sigma, sigma_next) * up
    return x
