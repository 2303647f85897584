"""ER-SDE: Taylor expansion of the extended reverse-time SDE, up to three stages, with the authors' noise scale.

Source: Cui et al. 2023, arXiv 2309.06169, algorithm 3 (ER-SDE-Solver-3) in the VE form, noise scale function SDE 5:
phi(s) = s * (exp(s^0.3) + 10); the integrals are sums over 200 points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler

POINTS = 200


def _scale(sigma: Tensor) -> Tensor:
    return sigma * ((sigma**0.3).exp() + 10.0)


def er_sde(x: Tensor, sigmas: Tensor, noise: StepNoise) -> Sampler:
    old: Tensor | None = None
    old_slope: Tensor | None = None
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = (yield x, sigma).denoised
        if sigma_next == 0:
            return denoised
        ratio = _scale(sigma_next) / _scale(sigma)
        x = ratio * x + (1 - ratio) * denoised
        if old is not None:
            h = sigma_next - sigma
            width = -h / POINTS
            points = sigma_next + torch.arange(POINTS, dtype=sigmas.dtype) * width
            first = (1 / _scale(points)).sum() * width
            slope = (denoised - old) / (sigma - sigmas[i - 1])
            x = x + (h + first * _scale(sigma_next)) * slope
            if old_slope is not None:
                second = ((points - sigma) / _scale(points)).sum() * width
                curve = (slope - old_slope) / ((sigma - sigmas[i - 2]) / 2)
                x = x + (h**2 / 2 + second * _scale(sigma_next)) * curve
            old_slope = slope
        x = x + noise(sigma, sigma_next) * (sigma_next**2 - sigma**2 * ratio**2).sqrt().nan_to_num(nan=0.0)
        old = denoised
    return x
