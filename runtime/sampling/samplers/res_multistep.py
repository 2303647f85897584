"""RES: a second-order exponential multistep method on the data prediction, without and with fresh noise.

Source: Zhang et al. 2023, "Improved Order Analysis and Design of Exponential Integrator for Diffusion Models Sampling",
arXiv 2308.02157, algorithm 2 (multistep RES). The CFG++ forms: see cfg_pp.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from runtime.sampling.sampler import ancestral_step, log_snr, slope

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler


def res_multistep(x: Tensor, sigmas: Tensor) -> Sampler:
    return (yield from _sample(x, sigmas, None, cfg_pp=False))


def res_multistep_cfg_pp(x: Tensor, sigmas: Tensor) -> Sampler:
    return (yield from _sample(x, sigmas, None, cfg_pp=True))


def res_multistep_ancestral(x: Tensor, sigmas: Tensor, noise: StepNoise) -> Sampler:
    return (yield from _sample(x, sigmas, noise, cfg_pp=False))


def res_multistep_ancestral_cfg_pp(x: Tensor, sigmas: Tensor, noise: StepNoise) -> Sampler:
    return (yield from _sample(x, sigmas, noise, cfg_pp=True))


def _sample(x: Tensor, sigmas: Tensor, noise: StepNoise | None, cfg_pp: bool) -> Sampler:
    old: Tensor | None = None
    old_sigma = old_down = sigmas[0]
    for sigma, sigma_next in pairwise(sigmas):
        prediction = yield x, sigma
        denoised = prediction.denoised
        down, up = (sigma_next, None) if noise is None else ancestral_step(sigma, sigma_next)
        if down == 0 or old is None:
            if cfg_pp:
                x = denoised + slope(x, sigma, prediction.unguided) * down
            else:
                x = x + slope(x, sigma, denoised) * (down - sigma)
        else:
            h = log_snr(down) - log_snr(sigma)
            c2 = (log_snr(old_sigma) - log_snr(old_down)) / h
            phi_1 = (-h).expm1() / -h
            phi_2 = (phi_1 - 1.0) / -h
            b2 = phi_2 / c2
            anchor = prediction.unguided if cfg_pp else denoised
            if cfg_pp:
                x = x + (denoised - prediction.unguided)
            x = (-h).exp() * x + h * ((phi_1 - b2) * anchor + b2 * old)
        if noise is not None and up is not None and sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
        old = prediction.unguided if cfg_pp else denoised
        old_sigma, old_down = sigma, down
    return x
