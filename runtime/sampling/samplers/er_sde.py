"""ER-SDE: Taylor expansion of the extended reverse-time SDE, up to three stages.

Source: Cui et al. 2023, arXiv 2309.06169, algorithm 3 (ER-SDE-Solver-3) in the VE form. The noise scale function is the
authors' SDE 5, phi(s) = s * (exp(s^0.3) + 10), or phi(s) = s^p, which is the ODE at p = 1 and the reverse-time SDE at
p = 2; the integrals are sums over 200 points. On another path, s is the noise over the share
of the data, and x is grown by that share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import Path
    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler

POINTS = 200


def _scale(sigma: Tensor, power: float) -> Tensor:
    return sigma**power if power > 0 else sigma * ((sigma**0.3).exp() + 10.0)


def er_sde(
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise,
    path: Path,
    max_stage: float = 3,
    s_noise: float = 1.0,
    power: float = 0.0,
) -> Sampler:
    """max_stage: terms of the expansion. power: p of phi(s) = s^p; 0: SDE 5."""
    sigmas = path.with_finite_snr(sigmas)
    alphas = path.alpha(sigmas)
    levels = sigmas / alphas
    old: Tensor | None = None
    old_slope: Tensor | None = None
    for i in range(len(sigmas) - 1):
        level, level_next, alpha = levels[i], levels[i + 1], alphas[i + 1]
        denoised = (yield x, sigmas[i]).denoised
        if level_next == 0:
            return denoised
        ratio = _scale(level_next, power) / _scale(level, power)
        x = alpha / alphas[i] * ratio * x + alpha * (1 - ratio) * denoised
        if old is not None and max_stage >= 2:
            h = level_next - level
            width = -h / POINTS
            points = level_next + torch.arange(POINTS, dtype=sigmas.dtype) * width
            first = (1 / _scale(points, power)).sum() * width
            slope = (denoised - old) / (level - levels[i - 1])
            x = x + alpha * (h + first * _scale(level_next, power)) * slope
            if old_slope is not None and max_stage >= 3:
                second = ((points - level) / _scale(points, power)).sum() * width
                curve = (slope - old_slope) / ((level - levels[i - 2]) / 2)
                x = x + alpha * (h**2 / 2 + second * _scale(level_next, power)) * curve
            old_slope = slope
        fresh = (level_next**2 - level**2 * ratio**2).sqrt().nan_to_num(nan=0.0)
        x = x + noise(sigmas[i], sigmas[i + 1]) * (alpha * s_noise * fresh)
        old = denoised
    return x
