"""What sampling runs over: sigmas and the time embeddings along them, noise, the sampler. Sigmas stay on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from runtime.ops.engine_calls import single, time_rows
from runtime.sampling.batching import Call
from runtime.sampling.latent_format import LatentFormat
from runtime.sampling.noise import initial_noise
from runtime.sampling.paths import model_sampling
from runtime.sampling.samplers import sampler as sampler_def
from runtime.sampling.sigmas import beta_quantiles, ksampler_sigmas, step_range
from runtime.values import Noise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from runtime.context import OpContext
    from runtime.sampling.batching import Calls
    from runtime.sampling.sampler import SamplerDef
    from runtime.values import Latent

Json = Any

TURBO_STEPS, TURBO_STRIDE = 10, 100


def make_sigmas(
    context: OpContext,
    steps: int,
    scheduler: str,
    denoise: float,
    sampler_name: str,
    start_at_step: int | None = None,
    end_at_step: int | None = None,
    return_with_leftover_noise: str = "enable",
) -> Tensor:
    """sigmas: (n+1,) float32 on the host; empty where nothing is to be sampled.

    The last three are KSamplerAdvanced's: with return_with_leftover_noise "disable" the schedule ends in 0 wherever
    end_at_step cuts it."""
    sampler_def(sampler_name)
    model = model_sampling(context.model)
    sigmas = ksampler_sigmas(model, scheduler, int(steps), float(denoise), sampler_name)
    return step_range(sigmas, start_at_step, end_at_step, return_with_leftover_noise == "disable")


def beta_sigmas(context: OpContext, steps: int, alpha: float, beta: float) -> Tensor:
    """Timesteps at quantiles of the Beta distribution of alpha and beta, see runtime.sampling.sigmas.beta."""
    return beta_quantiles(model_sampling(context.model), int(steps), float(alpha), float(beta))


def turbo_sigmas(context: OpContext, steps: int, denoise: float) -> Tensor:
    """Every hundredth timestep, downwards, from where denoise begins: what distilled models were trained on.

    Source: Sauer et al. 2023, "Adversarial Diffusion Distillation", arXiv 2311.17042, section 4."""
    first = TURBO_STEPS - int(TURBO_STEPS * denoise)
    timesteps = [TURBO_STRIDE * n - 1 for n in range(TURBO_STEPS, 0, -1)][first : first + int(steps)]
    sigmas = model_sampling(context.model).sigma(torch.tensor(timesteps))
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def make_noise(context: OpContext, latent: Latent, seed: int, add_noise: str | bool = True) -> Noise:
    """noise: like latent.samples as the model takes them, float32. add_noise "disable" (or False) gives zeros."""
    shape = LatentFormat.of(context.model["latent"]).fitted(latent.samples).shape
    if add_noise in (False, "disable"):
        return Noise(torch.zeros(shape, device=context.device), seed)
    return Noise(initial_noise(shape, seed, latent.batch_index).to(context.device), seed)


def sampler(context: OpContext, name: str, numbers: Mapping[str, float] | None = None) -> SamplerDef:
    """The sampler of that name. numbers: settings of its own, by name."""
    return sampler_def(name).with_numbers(numbers or {})


def embed_time(context: OpContext, sigmas: Tensor, vector: Tensor | None = None) -> Calls[tuple[Tensor, Tensor]]:
    """timesteps: (n,) float32 on the host, that the schedule visits (all sigmas but the last); time: (n, E), their
    embeddings. vector: (1, V), the vector condition of networks that have one."""
    model = model_sampling(context.model)
    # One by one, as samplers ask for them: a vectorised logarithm may differ in the last bit.
    visited = [model.timestep(sigma).float() for sigma in sigmas.float().cpu()[:-1]]
    timesteps = torch.stack(visited) if visited else torch.zeros(1)
    rows = yield from time_rows(context.module("time"), timesteps, vector, context.device)
    return timesteps[: len(visited)], rows[: len(visited)]


def project_context(context: OpContext, embedding: Tensor) -> Calls[Tensor]:
    """context: (B, T, K), keys and values of every cross-attention for a text. embedding: (B, T, C) float32."""
    outputs = yield Call(context.module("context"), {"context": embedding.to(context.device)})
    return single(outputs, "context").clone()  # an engine may hand out the same buffer at its next call
