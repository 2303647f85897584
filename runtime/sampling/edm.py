"""Models trained at every noise level of a range, in the preconditioning of Karras et al. 2022, arXiv 2206.00364."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from runtime.sampling.model_sampling import BEYOND_START, known_prediction
from runtime.sampling.variance_exploding import VarianceExploding

if TYPE_CHECKING:
    from torch import Tensor

Json = Any

PREDICTIONS = ("eps", "v", "edm")
LEVELS = 1000  # entries of the table, evenly spaced in log sigma


@dataclass(frozen=True, eq=False)
class Edm(VarianceExploding):
    """sigma_data: standard deviation of the data.

    prediction: "edm" as in table 1 of the paper; "v", the same with the sign of v; "eps", the noise."""

    sigmas: Tensor
    sigma_data: float
    prediction: str

    def timestep(self, sigma: Tensor) -> Tensor:
        """c_noise of table 1."""
        return 0.25 * sigma.log()

    def sigma(self, timestep: Tensor) -> Tensor:
        return (timestep / 0.25).exp()

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0.0:
            return BEYOND_START
        if percent >= 1.0:
            return 0.0
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return math.exp((high - low) * (1.0 - percent) + low)

    def scale_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """c_in * x = x / sqrt(sigma^2 + sigma_data^2)."""
        return x / (sigma**2 + self.sigma_data**2) ** 0.5

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """c_skip * x + c_out * output, with c_skip = sigma_data^2 / (sigma^2 + sigma_data^2) and
        c_out = sigma * sigma_data / sqrt(sigma^2 + sigma_data^2), which is negative for v."""
        if self.prediction == "eps":
            return x - output * sigma
        variance = sigma**2 + self.sigma_data**2
        kept, moved = x * self.sigma_data**2 / variance, output * sigma * self.sigma_data / variance**0.5
        return kept + moved if self.prediction == "edm" else kept - moved


def edm(schedule: Mapping[str, Json], prediction: str) -> Edm:
    """schedule: sigma_min, sigma_max, sigma_data."""
    low, high = float(schedule["sigma_min"]), float(schedule["sigma_max"])
    return _levels(low, high, float(schedule["sigma_data"]), known_prediction(prediction, PREDICTIONS))


@lru_cache(maxsize=16)
def _levels(low: float, high: float, sigma_data: float, prediction: str) -> Edm:
    return Edm(torch.linspace(math.log(low), math.log(high), LEVELS).exp(), sigma_data, prediction)
