"""What a discrete-time diffusion model means by sigma: its noise table, its timesteps, its prediction.

A model was trained at a finite number of timesteps, each with a noise level sigma = sqrt((1 - a) / a), where a is the
cumulative product of 1 - beta. Samplers work in sigma alone, in the "variance exploding" view x = x0 + sigma * noise
(Karras et al. 2022, arXiv 2206.00364, eq. 7 and table 1, row "iDDPM/DDIM"). This file is the way between the two views.

Everything here is a host-side scalar or a small float32 table; nothing is on the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from graphs.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

Json = Any

PREDICTIONS = ("eps", "v")
BEYOND_START = 999999999.9  # what percent 0 means: a sigma above every schedule, so that a range is open at its start
MAX_DENOISE_TOLERANCE = 1e-5  # relative: a first sigma this close to sigma_max counts as pure noise
ZERO_SNR_LAST_ALPHA = 4.8973451890853435e-08  # keeps the last sigma finite (about 4518) where alpha would be 0


@dataclass(frozen=True, eq=False)
class ModelSampling:
    """Noise table and prediction type of one model.

    sigmas: (n,) float32 ascending. log_sigmas: (n,) float32, rounded from float64 logarithms (not logs of sigmas).
    prediction: "eps" (the network gives the noise) or "v" (Salimans & Ho 2022, arXiv 2202.00512, appendix D).
    """

    sigmas: Tensor
    log_sigmas: Tensor
    prediction: str = "eps"

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    def timestep(self, sigma: Tensor) -> Tensor:
        """The trained timestep nearest to sigma by log distance. sigma: any shape float32 on the host -> int64."""
        distance = sigma.log().reshape(1, -1) - self.log_sigmas[:, None]
        return distance.abs().argmin(dim=0).reshape(sigma.shape)

    def sigma(self, timestep: Tensor) -> Tensor:
        """Sigma at a timestep, fractional ones by linear interpolation of log sigma. float32, the shape of timestep."""
        t = timestep.float().clamp(min=0, max=len(self.sigmas) - 1)
        low, high, weight = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - weight) * self.log_sigmas[low] + weight * self.log_sigmas[high]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """Sigma where this share of the timesteps is done: 0 is before the start, 1 is the end (0.0)."""
        if percent <= 0.0:
            return BEYOND_START
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * (len(self.sigmas) - 1))))

    def is_max_denoise(self, sigma: Tensor) -> bool:
        """Whether sampling that starts at sigma starts from pure noise."""
        first = float(sigma)
        return math.isclose(self.sigma_max, first, rel_tol=MAX_DENOISE_TOLERANCE) or first > self.sigma_max

    def scale_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x to unit variance, as the network was trained: x / sqrt(sigma^2 + 1)."""
        return x / (sigma**2 + 1.0) ** 0.5

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """The prediction of x0 from the network's output. x: unscaled sampler state."""
        if self.prediction == "eps":
            return x - output * sigma
        variance = sigma**2 + 1.0
        return x / variance - output * sigma / variance**0.5

    def noise_latent(self, latent: Tensor, noise: Tensor, sigma: Tensor, max_denoise: bool) -> Tensor:
        """The state at sigma: latent + noise * sigma, or * sqrt(1 + sigma^2) where sampling starts from pure noise.

        The second keeps the variance that the network saw at its last timestep, where the signal is not quite gone.
        """
        return latent + noise * ((1.0 + sigma**2) ** 0.5 if max_denoise else sigma)


def model_sampling(model: Mapping[str, Json]) -> ModelSampling:
    """From the facts of a model (see runtime.context).

    Raises RunError for a schedule or prediction that this runtime does not know."""
    schedule = model.get("schedule", {})
    kind, prediction = schedule.get("kind"), model.get("prediction")
    if kind not in ("scaled_linear", "linear"):
        raise RunError("unknown noise schedule", expected="scaled_linear or linear", got=repr(kind), hint="recompile")
    if prediction not in PREDICTIONS:
        raise RunError("unknown prediction type", expected="eps or v", got=repr(prediction), hint="recompile")
    return _table(
        kind,
        float(schedule["beta_start"]),
        float(schedule["beta_end"]),
        int(schedule["timesteps"]),
        bool(schedule.get("zero_terminal_snr", False)),
        prediction,
    )


@lru_cache(maxsize=16)
def _table(kind: str, start: float, end: float, timesteps: int, zero_snr: bool, prediction: str) -> ModelSampling:
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
    return ModelSampling(sigmas.float(), sigmas.log().float(), prediction)
