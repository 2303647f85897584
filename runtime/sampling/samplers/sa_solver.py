"""SA-Solver: a stochastic Adams predictor and corrector on the data prediction.

Source: Xue et al. 2023, arXiv 2309.05019, algorithm 1 with the coefficients of eq. 14 and 17 (data prediction);
lambda is half the path's log-SNR. tau is 1 in the part of the schedule that is given as the span, else 0: there a step
is that of the reverse SDE, outside that of the ODE. Predictor of order 3, corrector of order 4, both lowered towards
sigma 0. The corrector repeats its step with the prediction at the step's end and the same noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import Path
    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler

PREDICTOR_ORDER, CORRECTOR_ORDER = 3, 4
QUADRATURE = np.polynomial.legendre.leggauss(24)


def sa_solver(x: Tensor, sigmas: Tensor, noise: StepNoise, span: tuple[float, float], path: Path) -> Sampler:
    """One evaluation a step: the corrected state is not evaluated again (PEC). span: (high, low) sigma with noise."""
    return (yield from _sample(x, sigmas, noise, span, path, evaluate_corrected=False))


def sa_solver_pece(x: Tensor, sigmas: Tensor, noise: StepNoise, span: tuple[float, float], path: Path) -> Sampler:
    """Two evaluations a step: the corrected state is evaluated again (PECE)."""
    return (yield from _sample(x, sigmas, noise, span, path, evaluate_corrected=True))


def _sample(
    x: Tensor, sigmas: Tensor, noise: StepNoise, span: tuple[float, float], path: Path, evaluate_corrected: bool
) -> Sampler:
    sigmas = path.with_finite_snr(sigmas)
    lambdas = [float(lam) for lam in path.half_log_snr(sigmas)]
    last, to_zero = len(sigmas) - 1, bool(sigmas[-1] == 0)
    predicted, drawn, tau = x, None, 0.0
    past: list[Tensor] = []  # data predictions, oldest first
    for i in range(last):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = (yield predicted, sigma).denoised
        past = [*past, denoised][-CORRECTOR_ORDER:]
        if i == 0 or (sigma_next == 0 and not evaluate_corrected):
            x = predicted
        else:
            order = min(len(past), last - i) if to_zero else len(past)
            step = _Step(sigmas[i - 1], sigma, tau, path)
            x = step.take(x, past[-order:], lambdas[i - order + 1 : i + 1], drawn)
            if evaluate_corrected:
                denoised = (yield x, sigma).denoised
                past[-1] = denoised
        if sigma_next == 0:
            return denoised
        tau = 1.0 if span[1] <= float(sigma_next) <= span[0] else 0.0
        order = min(PREDICTOR_ORDER, len(past))
        if to_zero:
            order = min(order, last - 1 - i)
        step = _Step(sigma, sigma_next, tau, path)
        drawn = step.fresh(noise) if tau else None
        predicted = step.take(x, past[-order:], lambdas[i - order + 1 : i + 1], drawn)
    return predicted


class _Step:
    """From sigma to end with noise strength tau."""

    def __init__(self, sigma: Tensor, end: Tensor, tau: float, path: Path) -> None:
        self._sigma, self._end, self._tau = sigma, end, tau
        self._lambda, self._alpha = path.half_log_snr(end), path.alpha(end)
        self._h = self._lambda - path.half_log_snr(sigma)

    def fresh(self, noise: StepNoise) -> Tensor:
        share = (-2 * self._tau**2 * self._h).expm1().neg().sqrt()
        return noise(self._sigma, self._end) * self._end * share

    def take(self, x: Tensor, predictions: list[Tensor], lambdas: list[float], drawn: Tensor | None) -> Tensor:
        result = self._end / self._sigma * (-(self._tau**2) * self._h).exp() * x
        for weight, prediction in zip(self._weights(lambdas), predictions, strict=True):
            result = result + self._alpha * weight * prediction
        return result if drawn is None else result + drawn

    def _weights(self, lambdas: list[float]) -> list[float]:
        """(1 + tau^2) times the integral over u in [0, h] of exp(-(1 + tau^2) u) l_j(lambda_end - u)."""
        h, end, rate = float(self._h), float(self._lambda), 1 + self._tau**2
        points, gauss = QUADRATURE
        u = 0.5 * h * (points + 1)
        measure = rate * np.exp(-rate * u) * gauss * 0.5 * h
        weights = []
        for j, node in enumerate(lambdas):
            basis = np.ones_like(u)
            for k, other in enumerate(lambdas):
                if k != j:
                    basis = basis * (end - u - other) / (node - other)
            weights.append(float((measure * basis).sum()))
        return weights
