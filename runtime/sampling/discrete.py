"""Models trained at a finite number of timesteps: Stable Diffusion 1, 2, XL.

Each timestep has a noise level sigma = sqrt((1 - a) / a), where a is the cumulative product of 1 - beta.
"""

from __future__ import annotations

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

PREDICTIONS = ("eps", "v", "x0", "lcm")
ZERO_SNR_LAST_ALPHA = 4.8973451890853435e-08  # keeps the last sigma finite (about 4518) where alpha would be 0
LCM_STEPS = 50  # a consistency model knows so many of its teacher's timesteps
LCM_TIME_SCALE, LCM_DATA = 10.0, 0.5


@dataclass(frozen=True, eq=False)
class Discrete(VarianceExploding):
    """Noise table and prediction type of one model.

    sigmas: (n,) float32 ascending. log_sigmas: (n,) float32, rounded from float64 logarithms (not logs of sigmas).
    prediction: "eps" (the network gives the noise), "v" (Salimans & Ho 2022, arXiv 2202.00512, appendix D), "x0" (the
    data) or "lcm" (noise, read through a consistency model's boundary condition). stride: timesteps of training from
    one entry of the table to the next; the last entry is the last timestep.
    """

    sigmas: Tensor
    log_sigmas: Tensor
    prediction: str = "eps"
    stride: int = 1

    def timestep(self, sigma: Tensor) -> Tensor:
        """The trained timestep nearest to sigma by log distance. sigma: any shape float32 on the host -> int64."""
        distance = sigma.log().reshape(1, -1) - self.log_sigmas[:, None]
        nearest = distance.abs().argmin(dim=0).reshape(sigma.shape)
        return nearest if self.stride == 1 else nearest * self.stride + self.stride - 1

    def sigma(self, timestep: Tensor) -> Tensor:
        """Sigma at a timestep, fractional ones by linear interpolation of log sigma. float32, the shape of timestep."""
        t = timestep.float()
        if self.stride != 1:
            t = (t - (self.stride - 1)) / self.stride
        t = t.clamp(min=0, max=len(self.sigmas) - 1)
        low, high, weight = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - weight) * self.log_sigmas[low] + weight * self.log_sigmas[high]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0.0:
            return BEYOND_START
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * (len(self.sigmas) * self.stride - 1))))

    def scale_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x to unit variance: x / sqrt(sigma^2 + 1)."""
        return x / (sigma**2 + 1.0) ** 0.5

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        if self.prediction == "x0":
            return output.clone()
        if self.prediction == "v":
            variance = sigma**2 + 1.0
            return x / variance - output * sigma / variance**0.5
        found = x - output * sigma
        return found if self.prediction == "eps" else self._on_boundary(x, found, sigma)

    def _on_boundary(self, x: Tensor, found: Tensor, sigma: Tensor) -> Tensor:
        """Source: Luo et al. 2023, arXiv 2310.04378, section 4.1, time in tens of timesteps, data of deviation 1/2."""
        time = self.timestep(sigma).float() * LCM_TIME_SCALE
        variance = time**2 + LCM_DATA**2
        return time / variance**0.5 * found + LCM_DATA**2 / variance * x


def discrete(schedule: Mapping[str, Json], prediction: str) -> Discrete:
    """schedule: kind "scaled_linear" or "linear", beta_start, beta_end, timesteps, zero_terminal_snr."""
    return _table(
        str(schedule["kind"]),
        float(schedule["beta_start"]),
        float(schedule["beta_end"]),
        int(schedule["timesteps"]),
        bool(schedule.get("zero_terminal_snr", False)),
        known_prediction(prediction, PREDICTIONS),
    )


@lru_cache(maxsize=16)
def _table(kind: str, start: float, end: float, timesteps: int, zero_snr: bool, prediction: str) -> Discrete:
    """Betas and their product in float64, then one rounding to float32.

    Source: Rombach et al. 2022 (latent diffusion) for the betas that are linear in their root; Lin et al. 2023,
    arXiv 2305.08891, algorithm 1, for the zero terminal SNR.
    """
    if kind == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    else:
        betas = torch.linspace(start, end, timesteps, dtype=torch.float64)
    alphas = torch.cumprod(1.0 - betas, dim=0)
    sigmas = ((1 - alphas) / alphas) ** 0.5
    if zero_snr:
        root = (1 / (sigmas**2 + 1)).sqrt()
        first, last = root[0].clone(), root[-1].clone()
        rescaled = ((root - last) * (first / (first - last))) ** 2
        rescaled[-1] = ZERO_SNR_LAST_ALPHA
        sigmas = ((1 - rescaled) / rescaled) ** 0.5
    stride = timesteps // LCM_STEPS if prediction == "lcm" else 1
    sigmas = sigmas[stride - 1 :: stride]
    return Discrete(sigmas.float(), sigmas.log().float(), prediction, stride)
