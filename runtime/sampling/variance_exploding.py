"""The path of models whose data keep their size while noise is added: x = x0 + sigma * noise.

Source: Karras et al. 2022, arXiv 2206.00364, eq. 7 and table 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from runtime.sampling.model_sampling import MAX_DENOISE_TOLERANCE

if TYPE_CHECKING:
    from torch import Tensor


class VarianceExploding:
    """Half of a ModelSampling: what discrete and EDM models have in common."""

    sigmas: Tensor

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    def half_log_snr(self, sigma: Tensor) -> Tensor:
        return sigma.log().neg()

    def sigma_of(self, half_log_snr: Tensor) -> Tensor:
        return half_log_snr.neg().exp()

    def alpha(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)

    def with_finite_snr(self, sigmas: Tensor) -> Tensor:
        return sigmas

    def is_max_denoise(self, sigma: Tensor) -> bool:
        first = float(sigma)
        return math.isclose(self.sigma_max, first, rel_tol=MAX_DENOISE_TOLERANCE) or first > self.sigma_max

    def noise_latent(self, latent: Tensor, noise: Tensor, sigma: Tensor, max_denoise: bool) -> Tensor:
        """latent + noise * sigma, or * sqrt(1 + sigma^2) where sampling starts from pure noise.

        The second keeps the variance that the network saw at its last timestep, where the signal is not quite gone.
        """
        return latent + noise * ((1.0 + sigma**2) ** 0.5 if max_denoise else sigma)

    def latent_at(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x
