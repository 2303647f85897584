"""DPM-Solver with steps whose length follows the error: the difference between a step of one order and the next.

Source: Lu et al. 2022, arXiv 2206.00927, appendix C.3; the step size is that of a limited PID controller (Söderlind
2003, "Digital filters in adaptive time-stepping"). Like dpm_fast it ends at the last positive sigma of the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from runtime.sampling.sampler import ancestral_step, from_log_snr, log_snr
from runtime.sampling.samplers.dpm_solver import END_MARGIN, ends, first_order, noise_at, second_order, third_order

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Prediction, Query, Sampler

SMALLEST_ERROR = 1e-8


@dataclass
class StepSize:
    """h: the length of the next step in log sigma, signed. order: of the error, as the controller takes it."""

    h: float
    order: float
    p: float
    i: float
    d: float
    accept_above: float
    past: list[float] = field(default_factory=list)  # inverse errors, newest first

    def accepts(self, error: float) -> bool:
        """Whether a step of that error counts. Sets the length of the next one, or of this one tried again."""
        inverse = 1 / (error + SMALLEST_ERROR)
        self.past = [inverse, *self.past[1:]] if self.past else [inverse] * 3
        gains = (self.p + self.i + self.d), -(self.p + 2 * self.d), self.d
        factor = math.prod(e ** (gain / self.order) for e, gain in zip(self.past, gains, strict=True))
        factor = 1 + math.atan(factor - 1)
        if accepted := factor >= self.accept_above:
            self.past = [self.past[0], self.past[0], self.past[1]]
        self.h *= factor
        return accepted


def dpm_adaptive(
    x: Tensor,
    sigmas: Tensor,
    noise: StepNoise | None = None,
    order: float = 3,
    rtol: float = 0.05,
    atol: float = 0.0078,
    h_init: float = 0.05,
    pcoeff: float = 0.0,
    icoeff: float = 1.0,
    dcoeff: float = 0.0,
    accept_safety: float = 0.81,
    eta: float = 0.0,
    s_noise: float = 1.0,
) -> Sampler:
    """The schedule gives only the ends. order: 2 or 3, of the better of the two steps. rtol, atol: the error that is
    wanted, relative and absolute. h_init: the first step in log sigma. pcoeff, icoeff, dcoeff, accept_safety: of the
    controller. eta, s_noise: fresh noise in each step, where there is noise.

    The size of a step depends on the sample, so this sampler alone waits for the device once per step."""
    s, end = ends(sigmas)
    forward = bool(end > s)
    first, error_order = math.copysign(h_init, float(end - s)), order if noise is None else 1.5
    size = StepSize(first, error_order, pcoeff, icoeff, dcoeff, accept_safety)
    previous = x
    while (s < end - END_MARGIN) if forward else (s > end + END_MARGIN):
        t = torch.minimum(end, s + size.h) if forward else torch.maximum(end, s + size.h)
        quiet, up = t, torch.zeros(())
        if noise is not None:
            down, _ = ancestral_step(from_log_snr(s), from_log_snr(t), eta)
            quiet = torch.minimum(end, log_snr(down))
            up = (from_log_snr(t) ** 2 - from_log_snr(quiet) ** 2) ** 0.5
        low, high = yield from _both(x, s, quiet, int(order))
        scale = torch.maximum(low.abs(), previous.abs()).mul(rtol).clamp(min=atol)
        if size.accepts(float(torch.linalg.norm((low - high) / scale) / x.numel() ** 0.5)):
            fresh = noise(from_log_snr(s), from_log_snr(t)) * (s_noise * up) if noise is not None else 0.0
            previous, x, s = low, high + fresh, t
    return x


def _both(x: Tensor, s: Tensor, t: Tensor, order: int) -> Generator[Query, Prediction, tuple[Tensor, Tensor]]:
    """The step in the order below and in the order itself."""
    eps = yield from noise_at(x, s)
    if order == 2:
        return first_order(x, s, t, eps), (yield from second_order(x, s, t, eps, 1 / 2))[0]
    low, eps_third = yield from second_order(x, s, t, eps, 1 / 3)
    return low, (yield from third_order(x, s, t, eps, eps_third))
