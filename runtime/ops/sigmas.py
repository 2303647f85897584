"""Schedules that need no model, and changes to a schedule: (n+1,) float32 on the host, which may be empty."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graphs.errors import RunError

if TYPE_CHECKING:
    from runtime.context import OpContext

# Ten steps each, to be interpolated in log sigma for other counts.
# Source: Sabour et al. 2024, "Align Your Steps", arXiv 2404.14507, the tables published with it.
ALIGN_YOUR_STEPS = {
    "SD1": (14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092, 0.9642583904,
            0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582),
    "SDXL": (14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141, 0.5550693289,
             0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582),
    "SVD": (700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}  # fmt: skip
NEARLY_ZERO = 0.0001  # where a flipped schedule starts: at 0 there is no noise to predict
LAPLACE_EPSILON = 1e-5
NUMBER = re.compile(r"[-+]?(?:\d*\.)?\d+(?:[eE][-+]?\d+)?")
SPACINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "cosine": lambda x: (x * math.pi / 2).sin(),
    "sine": lambda x: 1 - (x * math.pi / 2).cos(),
}


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def _positive(**numbers: float) -> None:
    """Logarithms and roots of these are taken."""
    for name, number in numbers.items():
        if not number > 0:
            raise RunError(f"a schedule needs {name} above 0", expected="above 0", got=str(number))


def karras_sigmas(context: OpContext, steps: int, sigma_max: float, sigma_min: float, rho: float) -> Tensor:
    """Source: Karras et al. 2022, arXiv 2206.00364, eq. 5."""
    _positive(rho=rho)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _with_zero((high + torch.linspace(0, 1, int(steps)) * (low - high)) ** rho)


def exponential_sigmas(context: OpContext, steps: int, sigma_max: float, sigma_min: float) -> Tensor:
    """Evenly spaced in log sigma."""
    _positive(sigma_max=sigma_max, sigma_min=sigma_min)
    return _with_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), int(steps)).exp())


def polyexponential_sigmas(context: OpContext, steps: int, sigma_max: float, sigma_min: float, rho: float) -> Tensor:
    """Log sigma falls as a power of the share that is left: rho 1 is exponential."""
    _positive(sigma_max=sigma_max, sigma_min=sigma_min)
    left = torch.linspace(1, 0, int(steps)) ** rho
    return _with_zero((left * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min)).exp())


def laplace_sigmas(
    context: OpContext, steps: int, sigma_max: float, sigma_min: float, mu: float, beta: float
) -> Tensor:
    """Log sigma at quantiles of a Laplace distribution; the schedule has no 0 at its end, as in ComfyUI.

    Source: Hang et al. 2024, "Improved Noise Schedule for Diffusion Training", arXiv 2407.03297, table 1."""
    away = 0.5 - torch.linspace(0, 1, int(steps))
    lam = mu - beta * away.sign() * (1 - 2 * away.abs() + LAPLACE_EPSILON).log()
    return lam.exp().clamp(min=sigma_min, max=sigma_max)


def vp_sigmas(context: OpContext, steps: int, beta_d: float, beta_min: float, eps_s: float) -> Tensor:
    """Of the continuous variance-preserving equation. Source: Song et al. 2021, arXiv 2011.13456, appendix C."""
    t = torch.linspace(1, eps_s, int(steps))
    return _with_zero((beta_d * t**2 / 2 + beta_min * t).expm1().sqrt())


def align_your_steps(context: OpContext, model_type: str, steps: int, denoise: float) -> Tensor:
    """The last part of the schedule that denoise asks for; empty where it is 0."""
    if model_type not in ALIGN_YOUR_STEPS:
        raise RunError("unknown kind of model", expected=", ".join(ALIGN_YOUR_STEPS), got=repr(model_type))
    if denoise <= 0.0:
        return torch.empty(0)
    kept = int(steps) if denoise >= 1.0 else round(int(steps) * denoise)
    sigmas = _interpolated(ALIGN_YOUR_STEPS[model_type], int(steps) + 1)[-(kept + 1) :]
    sigmas[-1] = 0.0
    return sigmas


def _interpolated(table: tuple[float, ...], count: int) -> Tensor:
    """The table read at other places, evenly spread, by lines in the logarithm."""
    if count == len(table):
        return torch.tensor(table)
    import numpy as np

    places = np.linspace(0, 1, count)
    logs = np.interp(places, np.linspace(0, 1, len(table)), np.log(table[::-1]))
    return torch.from_numpy(np.exp(logs)[::-1].copy()).float()


def manual_sigmas(context: OpContext, sigmas: str) -> Tensor:
    """The numbers in a text, in their order."""
    return torch.tensor([float(number) for number in NUMBER.findall(sigmas)])


def split_sigmas(context: OpContext, sigmas: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """(high, low): up to a step and from there on; the level between them is in both."""
    return sigmas[: int(step) + 1], sigmas[int(step) :]


def split_sigmas_by_share(context: OpContext, sigmas: Tensor, denoise: float) -> tuple[Tensor, Tensor]:
    """(high, low): low has this share of the steps. At share 0 high is empty, as in ComfyUI."""
    kept = round(max(len(sigmas) - 1, 0) * denoise)
    return (sigmas[:-kept] if kept else sigmas[:0]), sigmas[-(kept + 1) :]


def flip_sigmas(context: OpContext, sigmas: Tensor) -> Tensor:
    """From quiet to noisy: the way that takes a picture back to its noise."""
    flipped = sigmas.flip(0)
    if len(flipped) and flipped[0] == 0:
        flipped[0] = NEARLY_ZERO
    return flipped


def set_first_sigma(context: OpContext, sigmas: Tensor, sigma: float) -> Tensor:
    changed = sigmas.clone()
    if len(changed):
        changed[0] = sigma
    return changed


def extend_sigmas(
    context: OpContext, sigmas: Tensor, steps: int, start_at_sigma: float, end_at_sigma: float, spacing: str
) -> Tensor:
    """Each step that starts between two levels becomes `steps` steps. start_at_sigma below 0: from the first."""
    if spacing not in SPACINGS:
        raise RunError("unknown spacing", expected=", ".join(SPACINGS), got=repr(spacing))
    shares = SPACINGS[spacing](torch.linspace(0, 1, int(steps) + 1)[1:-1])
    highest = math.inf if start_at_sigma < 0 else start_at_sigma
    levels: list[Tensor] = []
    for now, after in pairwise(sigmas):
        levels.append(now.reshape(1))
        if end_at_sigma <= float(now) <= highest:
            levels.append(shares * (after - now) + now)
    return torch.cat([*levels, sigmas[-1:]])
