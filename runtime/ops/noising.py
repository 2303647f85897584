"""Noise that is put on a latent outside a sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runtime.sampling.latent_format import LatentFormat
from runtime.sampling.paths import model_sampling

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext
    from runtime.values import Latent, Noise


def add_noise(context: OpContext, latent: Latent, noise: Noise, sigmas: Tensor) -> Latent:
    """latent: with noise of as much as the schedule takes away, first level less last; unscaled. What is not finite
    becomes 0 or the largest number, as in ComfyUI."""
    if len(sigmas) == 0:
        return latent
    model, form = model_sampling(context.model), LatentFormat.of(context.model["latent"])
    level = (sigmas[0] - sigmas[-1]).abs() if len(sigmas) > 1 else sigmas[0]
    samples = form.fitted(latent.samples).float().to(context.device)
    samples = form.normalised(samples) if samples.any() else samples
    noisy = form.raw(model.noise_latent(samples, noise.samples.to(context.device), level, max_denoise=False))
    return replace(latent, samples=noisy.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))
