"""SDE-DPM-Solver++: data-prediction exponential integrators of the reverse SDE, noise from one Brownian path.

Source: Lu et al. 2022, arXiv 2211.01095, appendix B (SDE-DPM-Solver++); the single-step and third-order forms are those
of k-diffusion (Katherine Crowson, MIT). lambda is the path's half log-SNR. eta: the noise, 1 that of the reverse
SDE, 0 none; s_noise: a factor on what is drawn.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from graphs.errors import RunError
from runtime.sampling.sampler import ancestral_step, log_snr

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import Path
    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import Sampler


def dpmpp_sde(
    x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path, eta: float = 1.0, s_noise: float = 1.0, r: float = 0.5
) -> Sampler:
    """Two stages: an ancestral step to the share r of the step in lambda, then the whole step by what is seen there."""
    if r <= 0:
        raise RunError("dpmpp_sde needs a middle stage after the start", expected="r above 0", got=str(r))
    ahead = 1 / (2 * r)  # of the line through both predictions, that its value in the middle of the step counts
    for sigma, sigma_next in pairwise(path.with_finite_snr(sigmas)):
        denoised = (yield x, sigma).denoised
        if sigma_next == 0:
            x = denoised
            continue
        t = path.half_log_snr(sigma)
        middle = path.sigma_of(t + (path.half_log_snr(sigma_next) - t) * r)
        halfway = _ancestral(x, denoised, sigma, middle, noise, path, eta, s_noise)
        inner = (yield halfway, middle).denoised
        seen = inner if ahead == 1.0 else (1 - ahead) * denoised + ahead * inner
        x = _ancestral(x, seen, sigma, sigma_next, noise, path, eta, s_noise)
    return x


def _ancestral(
    x: Tensor,
    denoised: Tensor,
    sigma: Tensor,
    end: Tensor,
    noise: StepNoise,
    path: Path,
    eta: float,
    s_noise: float,
) -> Tensor:
    """A first-order step to less noise than wanted, and fresh noise for the rest. The step is split as on the path
    x0 + s * noise, where s is sigma over the share of the data."""
    alpha = path.alpha(end)
    down, up = ancestral_step(sigma / path.alpha(sigma), end / alpha, eta)
    back = path.half_log_snr(sigma) - log_snr(down)
    x = (alpha * down / sigma) * x - alpha * back.expm1() * denoised
    return x + noise(sigma, end) * (alpha * s_noise * up)


def dpmpp_2m_sde(
    x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path, eta: float = 1.0, s_noise: float = 1.0
) -> Sampler:
    """Multistep of order 2, the midpoint form (the paper's 2M)."""
    return (yield from _second_order(x, sigmas, noise, path, eta, s_noise, heun=False))


def dpmpp_2m_sde_heun(
    x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path, eta: float = 1.0, s_noise: float = 1.0
) -> Sampler:
    """Multistep of order 2 with the exact weight of a linear data prediction in place of the midpoint's."""
    return (yield from _second_order(x, sigmas, noise, path, eta, s_noise, heun=True))


def _second_order(
    x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path, eta: float, s_noise: float, heun: bool
) -> Sampler:
    old: Tensor | None = None
    h_last: Tensor | None = None
    for sigma, sigma_next in pairwise(path.with_finite_snr(sigmas)):
        denoised = (yield x, sigma).denoised
        if sigma_next == 0:
            return denoised
        h = path.half_log_snr(sigma_next) - path.half_log_snr(sigma)
        h_eta = h * (eta + 1)
        alpha, gain = path.alpha(sigma_next), (-h_eta).expm1().neg()
        x = sigma_next / sigma * (-h * eta).exp() * x + alpha * gain * denoised
        if old is not None and h_last is not None:
            weight = 1 - gain / h_eta if heun else 0.5 * gain
            x = x + alpha * weight * (h / h_last) * (denoised - old)
        x = x + noise(sigma, sigma_next) * (sigma_next * s_noise * (-2 * h * eta).expm1().neg().sqrt())
        old, h_last = denoised, h
    return x


def dpmpp_3m_sde(
    x: Tensor, sigmas: Tensor, noise: StepNoise, path: Path, eta: float = 1.0, s_noise: float = 1.0
) -> Sampler:
    """Multistep of order 3: value, slope and curvature of the data prediction in lambda from the last three."""
    past: list[tuple[Tensor, Tensor]] = []  # (denoised, step after it), newest first
    for sigma, sigma_next in pairwise(path.with_finite_snr(sigmas)):
        denoised = (yield x, sigma).denoised
        if sigma_next == 0:
            return denoised
        h = path.half_log_snr(sigma_next) - path.half_log_snr(sigma)
        h_eta = h * (eta + 1)
        alpha, kept = path.alpha(sigma_next), path.alpha(sigma_next) / path.alpha(sigma)
        x = kept * (-h_eta).exp() * x + alpha * (-h_eta).expm1().neg() * denoised
        phi_2 = alpha * ((-h_eta).expm1() / h_eta + 1)
        if len(past) == 1:
            x = x + phi_2 * ((denoised - past[0][0]) / (past[0][1] / h))
        elif past:
            (first, h_1), (second, h_2) = past
            r0, r1 = h_1 / h, h_2 / h
            near, far = (denoised - first) / r0, (first - second) / r1
            slope = near + (near - far) * r0 / (r0 + r1)
            curve = (near - far) / (r0 + r1)
            x = x + phi_2 * slope - (phi_2 / h_eta - 0.5 * alpha) * curve
        x = x + noise(sigma, sigma_next) * (sigma_next * s_noise * (-2 * h * eta).expm1().neg().sqrt())
        past = [(denoised, h), *past][:2]
    return x
