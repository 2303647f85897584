"""DPM-Solver: exponential integrators on the noise prediction, of orders 1 to 3, in a fixed spacing; see dpm_adaptive.

Source: Lu et al. 2022, arXiv 2206.00927; the steps are its algorithms 1 and 2, with alpha = 1 and lambda = -log sigma.
"Fast" is its appendix D.3 (order 3 while it lasts, the rest of the evaluations in one step of lower order).
It does not sample down to 0: the last positive sigma of the schedule is the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from runtime.sampling.sampler import from_log_snr, log_snr

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor

    from runtime.sampling.sampler import Prediction, Query, Sampler

END_MARGIN = 1e-5  # in log sigma


def dpm_fast(x: Tensor, sigmas: Tensor) -> Sampler:
    """len(sigmas) - 1 evaluations, spaced evenly in log sigma between the ends of the schedule."""
    evaluations = len(sigmas) - 1
    start, end = ends(sigmas)
    intervals = evaluations // 3 + 1
    rest = evaluations % 3
    orders = [3] * (intervals - 1) + [rest] if rest else [3] * (intervals - 2) + [2, 1]
    times = torch.linspace(float(start), float(end), intervals + 1)
    for order, t, t_next in zip(orders, times[:-1], times[1:], strict=True):
        eps = yield from noise_at(x, t)
        if order == 1:
            x = first_order(x, t, t_next, eps)
        elif order == 2:
            x = (yield from second_order(x, t, t_next, eps, 1 / 2))[0]
        else:
            x = yield from third_order(x, t, t_next, eps, None)
    return x


def ends(sigmas: Tensor) -> tuple[Tensor, Tensor]:
    """The schedule's ends in lambda; of one that goes down to 0, the last positive sigma."""
    last = sigmas[-1] if sigmas[-1] != 0 else sigmas[-2]
    return log_snr(sigmas[0]), log_snr(last)


def noise_at(x: Tensor, t: Tensor) -> Sampler:
    """The noise prediction at lambda t."""
    sigma = from_log_snr(t)
    return (x - (yield x, sigma).denoised) / sigma


def first_order(x: Tensor, t: Tensor, t_next: Tensor, eps: Tensor) -> Tensor:
    return x - from_log_snr(t_next) * (t_next - t).expm1() * eps


def second_order(
    x: Tensor, t: Tensor, t_next: Tensor, eps: Tensor, r: float
) -> Generator[Query, Prediction, tuple[Tensor, Tensor]]:
    """The step and the noise prediction inside it, at the share r."""
    h, sigma_next = t_next - t, from_log_snr(t_next)
    inner = t + r * h
    eps_inner = yield from noise_at(first_order(x, t, inner, eps), inner)
    step = x - sigma_next * h.expm1() * eps - sigma_next / (2 * r) * h.expm1() * (eps_inner - eps)
    return step, eps_inner


def third_order(x: Tensor, t: Tensor, t_next: Tensor, eps: Tensor, eps_third: Tensor | None) -> Sampler:
    """eps_third: the noise prediction at a third of the step, where a lower order has just made it."""
    r1, r2 = 1 / 3, 2 / 3
    h, sigma_next = t_next - t, from_log_snr(t_next)
    if eps_third is None:
        third = t + r1 * h
        eps_third = yield from noise_at(first_order(x, t, third, eps), third)
    later = t + r2 * h
    sigma_later, g = from_log_snr(later), (r2 * h).expm1()
    x_later = x - sigma_later * g * eps - sigma_later * (r2 / r1) * (g / (r2 * h) - 1) * (eps_third - eps)
    eps_later = yield from noise_at(x_later, later)
    return x - sigma_next * h.expm1() * eps - sigma_next / r2 * (h.expm1() / h - 1) * (eps_later - eps)
