"""Flow matching models: x = (1 - sigma) * x0 + sigma * noise, and the network gives the velocity noise - x0.

Source: Lipman et al. 2023, arXiv 2210.02747 (the optimal transport path); Esser et al. 2024, arXiv 2403.03206, section
5.3.2, for the shift of its times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from runtime.sampling.model_sampling import MAX_DENOISE_TOLERANCE, known_prediction

if TYPE_CHECKING:
    from torch import Tensor

Json = Any

PREDICTIONS = ("flow",)
START_PERCENT = 1e-4  # where a schedule that starts without signal is taken to start, for its log-SNR


@dataclass(frozen=True, eq=False)
class Flow:
    """sigmas: (n,) float32 ascending to 1. shift: how far times are moved towards the noise, sigma = shift * t /
    (1 + (shift - 1) * t). multiplier: of sigma, as the network takes its time. prediction: "flow"."""

    sigmas: Tensor = field(repr=False)
    shift: float
    multiplier: float
    prediction: str = "flow"

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    def timestep(self, sigma: Tensor) -> Tensor:
        return sigma * self.multiplier

    def sigma(self, timestep: Tensor) -> Tensor:
        shifted: Tensor = _shifted(timestep / self.multiplier, self.shift)
        return shifted

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0.0:
            return 1.0
        if percent >= 1.0:
            return 0.0
        return float(_shifted(1.0 - percent, self.shift))

    def is_max_denoise(self, sigma: Tensor) -> bool:
        first = float(sigma)
        return math.isclose(self.sigma_max, first, rel_tol=MAX_DENOISE_TOLERANCE) or first > self.sigma_max

    def scale_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        return x - output * sigma

    def noise_latent(self, latent: Tensor, noise: Tensor, sigma: Tensor, max_denoise: bool) -> Tensor:
        return sigma * noise + (1.0 - sigma) * latent

    def latent_at(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1.0 - sigma)

    def half_log_snr(self, sigma: Tensor) -> Tensor:
        """log((1 - sigma) / sigma)."""
        return sigma.logit().neg()

    def sigma_of(self, half_log_snr: Tensor) -> Tensor:
        return half_log_snr.neg().sigmoid()

    def alpha(self, sigma: Tensor) -> Tensor:
        return 1.0 - sigma

    def with_finite_snr(self, sigmas: Tensor) -> Tensor:
        if len(sigmas) < 2 or float(sigmas[0]) < 1.0:
            return sigmas
        return torch.cat([sigmas.new_tensor([self.percent_to_sigma(START_PERCENT)]), sigmas[1:]])


def flow(schedule: Mapping[str, Json], prediction: str) -> Flow:
    """schedule: shift, multiplier and timesteps, the size of the table; of kind "flux" mu, where shift is e^mu."""
    shift = math.exp(float(schedule["mu"])) if schedule["kind"] == "flux" else float(schedule["shift"])
    known_prediction(prediction, PREDICTIONS)
    return _levels(shift, float(schedule.get("multiplier", 1.0)), int(schedule["timesteps"]))


@lru_cache(maxsize=16)
def _levels(shift: float, multiplier: float, timesteps: int) -> Flow:
    return Flow(_shifted(torch.arange(1, timesteps + 1) / timesteps, shift), shift, multiplier)


def _shifted(time: Any, shift: float) -> Any:
    """time: a tensor or a number."""
    return time if shift == 1.0 else shift * time / (1.0 + (shift - 1.0) * time)
