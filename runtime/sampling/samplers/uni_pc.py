"""UniPC: a multistep predictor of order up to 3, each step corrected with the prediction at its end.

Source: Zhao et al. 2023, arXiv 2302.04867, algorithms 5 to 8 in the data-prediction form: B1(h) = h for uni_pc,
B2(h) = e^h - 1 for uni_pc_bh2. It works on the variance-preserving state x / sqrt(1 + sigma^2), with
alpha = 1 / sqrt(1 + sigma^2) and lambda = log(alpha / std). The correction costs no evaluation: the prediction at the
end of one step is the one at the start of the next. A schedule's final 0 counts as sigma 0.001, lambda being infinite
at 0; the result is taken there.

Over a single interval ComfyUI's order is 0: the model is asked, and no step is taken. The same here, for equal
pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.sampler import Sampler

MAX_ORDER = 3
LAST_SIGMA = 0.001


def uni_pc(x: Tensor, sigmas: Tensor) -> Sampler:
    return (yield from _sample(x, sigmas, bh2=False))


def uni_pc_bh2(x: Tensor, sigmas: Tensor) -> Sampler:
    return (yield from _sample(x, sigmas, bh2=True))


@dataclass(frozen=True, eq=False)
class _Point:
    """One noise level. alpha, std, lam: 0-dim float32."""

    sigma: Tensor
    alpha: Tensor
    std: Tensor
    lam: Tensor


def _point(sigma: Tensor) -> _Point:
    log_alpha = 0.5 * (1 / (sigma**2 + 1)).log()
    std = (1.0 - (2.0 * log_alpha).exp()).sqrt()
    return _Point(sigma, log_alpha.exp(), std, log_alpha - 0.5 * (1.0 - (2.0 * log_alpha).exp()).log())


def _sample(x: Tensor, sigmas: Tensor, bh2: bool) -> Sampler:
    if sigmas[-1] == 0:
        sigmas = torch.cat([sigmas[:-1], sigmas.new_tensor([LAST_SIGMA])])
    points = [_point(s) for s in sigmas]
    last = len(points) - 1
    order = min(MAX_ORDER, last - 1)
    state = x / (1.0 + sigmas[0] ** 2).sqrt()
    models = [(yield from _evaluate(state, points[0]))]  # predictions at points[0..], oldest first
    for i in range(1, last + 1 if order else 1):
        # the first steps have too few predictions for the full order, the last ones end in a lower order
        now = min(order, i, last + 1 - i) if i >= order else i
        step = _Step.between(points[max(0, i - order) : i], points[i], models[-order:], now, bh2)
        base = step.base(state)
        state = step.predict(base)
        if i < last:
            model = yield from _evaluate(state, points[i])
            state = step.correct(base, model)
            models = [*models, model][-order:]
    return state / points[-1].alpha


def _evaluate(state: Tensor, point: _Point) -> Sampler:
    """The data prediction, by way of the noise: the network's view of a variance-preserving state."""
    x = state * (point.sigma**2 + 1.0) ** 0.5
    eps = (x - (yield x, point.sigma).denoised) / point.sigma
    return (state - point.std * eps) / point.alpha


@dataclass(frozen=True, eq=False)
class _Step:
    """The coefficients of one step of order n: (n,) relative times, the (n, n) system of the paper's eq. 7 (R, b)."""

    past: _Point
    end: _Point
    newest: Tensor
    differences: list[Tensor]  # (older - newest) / relative time, n - 1 of them
    system: Tensor
    right: Tensor
    gain: Tensor  # e^-h - 1
    spread: Tensor  # B(h)

    @staticmethod
    def between(points: list[_Point], end: _Point, models: list[Tensor], order: int, bh2: bool) -> _Step:
        past, newest = points[-1], models[-1]
        h = end.lam - past.lam
        times, differences = [], []
        for k in range(2, order + 1):
            r = (points[-k].lam - past.lam) / h
            times.append(r)
            differences.append((models[-k] - newest) / r)
        relative = torch.stack([*times, torch.ones(())])
        gain = torch.expm1(-h)
        spread = gain if bh2 else -h
        phi, factorial, rows, right = gain / -h - 1, 1, [], []
        for k in range(1, order + 1):
            rows.append(relative ** (k - 1))
            right.append(phi * factorial / spread)
            factorial *= k + 1
            phi = phi / -h - 1 / factorial
        return _Step(past, end, newest, differences, torch.stack(rows), torch.stack(right), gain, spread)

    def base(self, state: Tensor) -> Tensor:
        """The first-order step, which predictor and corrector both start from."""
        return self.end.std / self.past.std * state - self.end.alpha * self.gain * self.newest

    def predict(self, base: Tensor) -> Tensor:
        if not self.differences:
            return base
        if len(self.differences) == 1:
            weights = [torch.tensor(0.5)]  # the paper's closed form at order 2
        else:
            weights = list(torch.linalg.solve(self.system[:-1, :-1], self.right[:-1]))
        return base - self.end.alpha * self.spread * self._weighted(weights, self.differences)

    def correct(self, base: Tensor, model: Tensor) -> Tensor:
        solved = list(torch.linalg.solve(self.system, self.right)) if self.differences else [torch.tensor(0.5)]
        terms = [*self.differences, model - self.newest]
        return base - self.end.alpha * self.spread * self._weighted(solved, terms)

    @staticmethod
    def _weighted(weights: list[Tensor], terms: list[Tensor]) -> Tensor:
        total = weights[0] * terms[0]
        for weight, term in zip(weights[1:], terms[1:], strict=True):
            total = total + weight * term
        return total
