"""Sigma schedules: which noise levels a run visits. Pure functions, all nine of KSampler's list.

A scheduler takes the model's table and a number of steps and gives (n+1,) float32 on the host, descending, ending in 0.
n is usually steps; ddim_uniform may give one more and beta fewer, as in ComfyUI.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from graphs.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import ModelSampling

Scheduler = Callable[["ModelSampling", int], "Tensor"]

# Samplers that evaluate the model between the last two sigmas: the schedule is made one step longer and its
# next-to-last sigma, which lies too close to 0 for them, is dropped.
DROP_NEXT_TO_LAST = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})
MOST_STEPS = 100_000  # of a schedule of which the last ones are kept; a list for each, and seconds of time
FULL_DENOISE = 0.9999  # a denoise above this counts as 1
KARRAS_RHO = 7.0
BETA_ALPHA = BETA_BETA = 0.6
LINEAR_QUADRATIC_THRESHOLD = 0.025


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def normal(model: ModelSampling, steps: int) -> Tensor:
    """Evenly spaced timesteps, both ends included. Source: DDIM, Song et al. 2021, arXiv 2010.02502, section 4.2."""
    return _with_zero(model.sigma(torch.linspace(*_time_range(model), steps)))


def sgm_uniform(model: ModelSampling, steps: int) -> Tensor:
    """Evenly spaced timesteps without the last ("trailing"). Source: Lin et al. 2023, arXiv 2305.08891, table 2."""
    return _with_zero(model.sigma(torch.linspace(*_time_range(model), steps + 1)[:-1]))


def _time_range(model: ModelSampling) -> tuple[float, float]:
    """The timesteps of the noisiest level and of the quietest."""
    return float(model.timestep(model.sigmas[-1])), float(model.timestep(model.sigmas[0]))


def simple(model: ModelSampling, steps: int) -> Tensor:
    """Entries of the table counted back from its end with a stride of n/steps, cut to integers."""
    stride = len(model.sigmas) / steps
    picks = [len(model.sigmas) - 1 - int(i * stride) for i in range(steps)]
    return _with_zero(model.sigmas[picks])


def ddim_uniform(model: ModelSampling, steps: int) -> Tensor:
    """Every (n // steps)-th entry of the table from entry 1 up. Source: the strided subsequence of DDIM, section 4.2.

    Where steps does not divide n, one more entry fits than was asked for, and it is kept."""
    stride = max(len(model.sigmas) // steps, 1)
    return _with_zero(model.sigmas[1::stride].flip(0))


def karras(model: ModelSampling, steps: int) -> Tensor:
    """Source: Karras et al. 2022, arXiv 2206.00364, eq. 5, rho = 7."""
    low, high = model.sigma_min ** (1 / KARRAS_RHO), model.sigma_max ** (1 / KARRAS_RHO)
    return _with_zero((high + torch.linspace(0, 1, steps) * (low - high)) ** KARRAS_RHO)


def exponential(model: ModelSampling, steps: int) -> Tensor:
    """Evenly spaced in log sigma. Source: k-diffusion's exponential schedule; DPM-Solver's uniform logSNR spacing."""
    return _with_zero(torch.linspace(math.log(model.sigma_max), math.log(model.sigma_min), steps).exp())


def beta(model: ModelSampling, steps: int) -> Tensor:
    """Timesteps at quantiles of the Beta(0.6, 0.6) distribution."""
    return beta_quantiles(model, steps, BETA_ALPHA, BETA_BETA)


def beta_quantiles(model: ModelSampling, steps: int, alpha: float, beta: float) -> Tensor:
    """Timesteps at evenly spaced quantiles of a Beta distribution, repeats dropped.

    Source: Lee et al. 2024, "Beta Sampling is All You Need", arXiv 2407.12173, section 4."""
    if not (alpha > 0 and beta > 0):
        raise RunError("a Beta distribution needs alpha and beta above 0", got=f"{alpha} and {beta}")
    import numpy as np
    from scipy.special import betaincinv

    quantiles = 1 - np.linspace(0, 1, steps, endpoint=False)
    picks = np.rint(betaincinv(alpha, beta, quantiles) * (len(model.sigmas) - 1)).astype(int)
    return _with_zero(model.sigmas[[int(p) for p in dict.fromkeys(picks.tolist())]])


def linear_quadratic(model: ModelSampling, steps: int) -> Tensor:
    """Half the steps linear from 1 down by 0.025 in all, the rest quadratic to 0, times sigma_max.

    Source: Polyak et al. 2024, "Movie Gen", arXiv 2410.13720, section 3.4.2 (linear-quadratic t-schedule)."""
    if steps == 1:
        return torch.tensor([1.0, 0.0]) * model.sigma_max
    linear = steps // 2
    rest = steps - linear
    done = [LINEAR_QUADRATIC_THRESHOLD * i / linear for i in range(linear)]
    # the quadratic joins the line at i = linear with the same value and reaches 1 at i = steps
    bend = linear - LINEAR_QUADRATIC_THRESHOLD * steps
    square = bend / (linear * rest**2)
    slope = LINEAR_QUADRATIC_THRESHOLD / linear - 2 * bend / rest**2
    start = square * linear**2
    done += [square * i**2 + slope * i + start for i in range(linear, steps)]
    return torch.tensor([*(1.0 - d for d in done), 0.0]) * model.sigma_max


def kl_optimal(model: ModelSampling, steps: int) -> Tensor:
    """Evenly spaced in atan(sigma). Source: Sabour et al. 2024, "Align Your Steps", arXiv 2404.14507, theorem 3.1.

    Raises RunError at one step: the spacing between both ends is not defined there (ComfyUI gives NaN)."""
    if steps < 2:
        raise RunError("scheduler 'kl_optimal' needs two steps or more", got=str(steps), hint="set steps to 2 or more")
    share = torch.arange(steps, dtype=torch.float) / (steps - 1)
    return _with_zero((share * math.atan(model.sigma_min) + (1 - share) * math.atan(model.sigma_max)).tan())


SCHEDULERS: Mapping[str, Scheduler] = MappingProxyType(
    {
        "simple": simple,
        "sgm_uniform": sgm_uniform,
        "karras": karras,
        "exponential": exponential,
        "ddim_uniform": ddim_uniform,
        "beta": beta,
        "normal": normal,
        "linear_quadratic": linear_quadratic,
        "kl_optimal": kl_optimal,
    }
)


def schedule(model: ModelSampling, scheduler: str, steps: int) -> Tensor:
    """The sigmas of a scheduler by name: (n+1,) float32. Raises RunError for an unknown name or fewer than one step."""
    if scheduler not in SCHEDULERS:
        raise RunError("unknown scheduler", expected=", ".join(SCHEDULERS), got=repr(scheduler))
    if steps < 1:
        raise RunError("a schedule needs at least one step", got=f"steps {steps}")
    return SCHEDULERS[scheduler](model, steps)


def ksampler_sigmas(
    model: ModelSampling, scheduler: str, steps: int, denoise: float = 1.0, sampler_name: str = "euler"
) -> Tensor:
    """What KSampler makes of its widgets.

    denoise < 1 computes int(steps / denoise) steps and keeps the last `steps`; denoise <= 0 gives an empty schedule,
    which means: leave the latent as it is. Raises RunError where that makes more than MOST_STEPS."""
    if denoise <= 0:
        return torch.empty(0)
    total = steps if denoise > FULL_DENOISE else int(min(steps / denoise, 2 * MOST_STEPS))
    if total > MOST_STEPS:
        most, got = f"at most {MOST_STEPS}, steps / denoise", f"{steps} / {denoise} of them"
        raise RunError("too many steps", expected=most, got=got, hint="raise denoise")
    sigmas = _for_sampler(model, scheduler, total, sampler_name)
    return sigmas if denoise > FULL_DENOISE else sigmas[-(steps + 1) :]


def _for_sampler(model: ModelSampling, scheduler: str, steps: int, sampler_name: str) -> Tensor:
    if sampler_name not in DROP_NEXT_TO_LAST:
        return schedule(model, scheduler, steps)
    sigmas = schedule(model, scheduler, steps + 1)
    return torch.cat([sigmas[:-2], sigmas[-1:]])


def step_range(sigmas: Tensor, start: int | None, end: int | None, full_denoise: bool) -> Tensor:
    """The part of a schedule that KSamplerAdvanced walks: steps start..end; an empty one where nothing is left.

    full_denoise: a range that ends early still ends at sigma 0, in one last step (return_with_leftover_noise off)."""
    if end is not None and end < len(sigmas) - 1:
        sigmas = sigmas[: end + 1].clone()
        if full_denoise:
            sigmas[-1] = 0.0
    if start is not None:
        if start >= len(sigmas) - 1:
            return sigmas[:0]
        sigmas = sigmas[start:]
    return sigmas
