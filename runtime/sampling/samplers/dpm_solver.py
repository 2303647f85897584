"""DPM-Solver: exponential integrators on the noise prediction, of orders 1 to 3, in a fixed or an adaptive spacing.

Source: Lu et al. 2022, arXiv 2206.00927; the steps are its algorithms 1 and 2, with alpha = 1 and lambda = -log sigma.
"Fast" is its appendix D.3 (order 3 while it lasts, the rest of the evaluations in one step of lower order).
Neither samples down to 0: the last positive sigma of the schedule is the end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from runtime.sampling.sampler import from_log_snr, log_snr

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor

    from runtime.sampling.sampler import Prediction, Query, Sampler

ORDER = 3
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 0.05, 0.0078
FIRST_STEP = 0.05  # in log sigma
ACCEPT_ABOVE = 0.81
END_MARGIN = 1e-5  # in log sigma


def dpm_fast(x: Tensor, sigmas: Tensor) -> Sampler:
    """len(sigmas) - 1 evaluations, spaced evenly in log sigma between the ends of the schedule."""
    evaluations = len(sigmas) - 1
    start, end = _ends(sigmas)
    intervals = evaluations // 3 + 1
    rest = evaluations % 3
    orders = [3] * (intervals - 1) + [rest] if rest else [3] * (intervals - 2) + [2, 1]
    times = torch.linspace(float(start), float(end), intervals + 1)
    for order, t, t_next in zip(orders, times[:-1], times[1:], strict=True):
        eps = yield from _noise_at(x, t)
        if order == 1:
            x = _first_order(x, t, t_next, eps)
        elif order == 2:
            x = (yield from _second_order(x, t, t_next, eps, 1 / 2))[0]
        else:
            x = yield from _third_order(x, t, t_next, eps, None)
    return x


def dpm_adaptive(x: Tensor, sigmas: Tensor) -> Sampler:
    """Steps of order 3 whose length follows the difference to order 2. The schedule gives only the ends.

    Source: arXiv 2206.00927, appendix C.3, with the limited step size controller of Söderlind 2003.
    The size of a step depends on the sample, so this sampler alone waits for the device once per step."""
    s, end = _ends(sigmas)
    h = math.copysign(FIRST_STEP, float(end - s))
    forward = h > 0
    previous = x
    while (s < end - END_MARGIN) if forward else (s > end + END_MARGIN):
        t = torch.minimum(end, s + h) if forward else torch.maximum(end, s + h)
        eps = yield from _noise_at(x, s)
        low, eps_third = yield from _second_order(x, s, t, eps, 1 / 3)
        high = yield from _third_order(x, s, t, eps, eps_third)
        scale = torch.maximum(low.abs(), previous.abs()).mul(RELATIVE_TOLERANCE).clamp(min=ABSOLUTE_TOLERANCE)
        error = float(torch.linalg.norm((low - high) / scale) / x.numel() ** 0.5)
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / ORDER) - 1)
        h *= factor
        if factor >= ACCEPT_ABOVE:
            previous, x, s = low, high, t
    return x


def _ends(sigmas: Tensor) -> tuple[Tensor, Tensor]:
    last = sigmas[-1] if sigmas[-1] != 0 else sigmas[-2]
    return log_snr(sigmas[0]), log_snr(last)


def _noise_at(x: Tensor, t: Tensor) -> Sampler:
    """The noise prediction at lambda t."""
    sigma = from_log_snr(t)
    return (x - (yield x, sigma).denoised) / sigma


def _first_order(x: Tensor, t: Tensor, t_next: Tensor, eps: Tensor) -> Tensor:
    return x - from_log_snr(t_next) * (t_next - t).expm1() * eps


def _second_order(
    x: Tensor, t: Tensor, t_next: Tensor, eps: Tensor, r: float
) -> Generator[Query, Prediction, tuple[Tensor, Tensor]]:
    """The step and the noise prediction inside it, at the share r."""
    h, sigma_next = t_next - t, from_log_snr(t_next)
    inner = t + r * h
    eps_inner = yield from _noise_at(_first_order(x, t, inner, eps), inner)
    step = x - sigma_next * h.expm1() * eps - sigma_next / (2 * r) * h.expm1() * (eps_inner - eps)
    return step, eps_inner


def _third_order(x: Tensor, t: Tensor, t_next: Tensor, eps: Tensor, eps_third: Tensor | None) -> Sampler:
    """eps_third: the noise prediction at a third of the step, where a lower order has just made it."""
    r1, r2 = 1 / 3, 2 / 3
    h, sigma_next = t_next - t, from_log_snr(t_next)
    if eps_third is None:
        third = t + r1 * h
        eps_third = yield from _noise_at(_first_order(x, t, third, eps), third)
    later = t + r2 * h
    sigma_later, g = from_log_snr(later), (r2 * h).expm1()
    x_later = x - sigma_later * g * eps - sigma_later * (r2 / r1) * (g / (r2 * h) - 1) * (eps_third - eps)
    eps_later = yield from _noise_at(x_later, later)
    return x - sigma_next * h.expm1() * eps - sigma_next / r2 * (h.expm1() / h - 1) * (eps_later - eps)
