"""Noise masks: sample inside the mask, keep the latent outside. Source: ComfyUI's noise_mask as observed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from runtime.sampling.batching import Calls
    from runtime.sampling.driver import Denoise
    from runtime.sampling.model_sampling import ModelSampling
    from runtime.sampling.sampler import Prediction


def fit_mask(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """A noise mask of any (..., H, W) as (B, 1, h, w) for a latent (B, C, h, w): bilinear, not rounded.

    Fewer masks than samples repeat, surplus ones are dropped."""
    batch, size = shape[0], (shape[-2], shape[-1])
    planes = mask.float().reshape(-1, 1, *mask.shape[-2:])
    fitted = interpolate(planes, size=size, mode="bilinear", align_corners=False)
    return fitted.repeat(-(-batch // len(fitted)), 1, 1, 1)[:batch]


@dataclass(frozen=True, eq=False)
class Differential:
    """Reads a noise mask as the time from which each place is sampled: the brighter, the sooner.

    first, last: timesteps of the schedule's first and smallest sigma. strength: how far this takes the mask's place.
    Source: Levin and Fried, Differential Diffusion (2023), section 3; the timesteps as ComfyUI has them."""

    model: ModelSampling
    first: Tensor
    last: Tensor
    strength: float

    @classmethod
    def over(cls, model: ModelSampling, sigmas: Tensor, strength: float) -> Differential:
        """sigmas: (n+1,) of the schedule, on the host."""
        smallest = sigmas[-1].clamp(min=model.sigma_min)
        return cls(model, model.timestep(sigmas[0]), model.timestep(smallest), strength)

    def mask(self, mask: Tensor, sigma: Tensor) -> Tensor:
        threshold = float((self.model.timestep(sigma) - self.last) / (self.first - self.last))
        reached = (mask >= threshold).to(mask.dtype)
        return reached if self.strength == 1.0 else self.strength * reached + (1.0 - self.strength) * mask


@dataclass(frozen=True, eq=False)
class MaskedDenoise:
    """A denoise function that sees the kept region as the latent noised to each sigma, and predicts it as the latent.

    mask: (B, 1, h, w), 1 where sampling happens. latent, noise: (B, C, h, w), scaled to the sampler's space."""

    denoise: Denoise
    model: ModelSampling
    mask: Tensor
    latent: Tensor
    noise: Tensor
    differential: Differential | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Calls[Prediction]:
        kept = self.model.noise_latent(self.latent, self.noise, sigma, max_denoise=False)
        inside = self.mask if self.differential is None else self.differential.mask(self.mask, sigma)
        outside = 1.0 - inside
        prediction = yield from self.denoise(x * inside + kept * outside, sigma)
        return replace(prediction, denoised=prediction.denoised * inside + self.latent * outside)
