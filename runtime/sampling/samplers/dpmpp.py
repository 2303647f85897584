"""DPM-Solver++ on the data prediction: single-step with fresh noise, and multistep.

Source: Lu et al. 2022, arXiv 2211.01095. A step of order 1 is end / sigma * x + (1 - end / sigma) * x0 on every path:
the path shows only in where the middle of a step lies and in how much noise is fresh.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from runtime.sampling.sampler import log_snr, renoised

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import Path
    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler


def dpmpp_2s_ancestral(
    x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path, eta: float = 1.0, s_noise: float = 1.0
) -> Sampler:
    """Algorithm 1 (2S, r = 1/2) from sigma to sigma_down, then fresh noise of sigma_up.

    The middle lies in half the path's log-SNR; of a step from pure noise, where that has none, next to its start."""
    finite = path.with_finite_snr(sigmas)
    for sigma, start, sigma_next in zip(sigmas[:-1], finite[:-1], sigmas[1:], strict=True):
        denoised = (yield x, sigma).denoised
        down, up, kept = renoised(path, sigma, sigma_next, eta)
        if down == 0:
            x = denoised
            continue
        t, h = path.half_log_snr(start), path.half_log_snr(down) - path.half_log_snr(start)
        middle = path.sigma_of(t + 0.5 * h) if bool(start == sigma) else start
        back = log_snr(sigma) - log_snr(middle)
        halfway = (middle / sigma) * x - back.expm1() * denoised
        denoised = (yield halfway, middle).denoised
        x = (down / sigma) * x - (log_snr(sigma) - log_snr(down)).expm1() * denoised
        x = kept * x + noise(sigma, sigma_next) * (s_noise * up)
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
