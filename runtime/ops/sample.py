"""The sampling loop. Sigmas stay on the host; x, noise and text stay on the device; the loop never waits for it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from graphs.errors import RunError
from runtime.ops.controlnet import ControlNets, ResidualShape
from runtime.ops.diffusion import DenoiserNetwork
from runtime.ops.engine_calls import TimeTables
from runtime.sampling.brownian import brownian_noise
from runtime.sampling.driver import LastStart, drive
from runtime.sampling.entries import entries_of
from runtime.sampling.guidance import Guidance
from runtime.sampling.guiders import guider_def
from runtime.sampling.inpaint import MaskedDenoise, fit_mask
from runtime.sampling.latent_format import LatentFormat
from runtime.sampling.noise import SEEDS, independent_noise, initial_noise, step_seed
from runtime.sampling.patches import differential, known
from runtime.sampling.paths import model_sampling
from runtime.sampling.sampler import BROWNIAN, NO_NOISE

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext
    from runtime.sampling.batching import Calls
    from runtime.sampling.conditions import Guider
    from runtime.sampling.driver import Denoise, Evaluated
    from runtime.sampling.model_sampling import ModelSampling
    from runtime.sampling.noise import StepNoise
    from runtime.sampling.sampler import SamplerDef
    from runtime.values import Latent, Noise


def sample(
    context: OpContext, latent: Latent, noise: Noise, sigmas: Tensor, sampler: SamplerDef, guider: Guider
) -> Calls[tuple[Latent, Latent]]:
    """latent: sampled from noise over sigmas, unscaled like the one that came in, with its mask and indices. denoised:
    what the model saw in it at the start of the last step."""
    sigmas = sigmas.float().cpu()
    if len(sigmas) < 2:
        return latent, latent
    model, form = model_sampling(guider.facts), LatentFormat.of(guider.facts["latent"])
    start = _normalised(context, latent, form)
    drawn = noise.samples.to(context.device)
    denoise = _denoise(context, guider, model, form, sampler, start)
    if latent.noise_mask is not None:
        outside = initial_noise(drawn.shape, (noise.seed + 1) % SEEDS) if sampler.redraws_outside_mask else drawn
        mask = fit_mask(latent.noise_mask.to(context.device), start.shape)
        timed = differential(known(guider.patches), model, sigmas)
        denoise = MaskedDenoise(denoise, model, mask, start, outside.to(context.device), timed)
    x = model.noise_latent(start, drawn, sigmas[0], model.is_max_denoise(sigmas[0]))
    running = sampler.start(x, sigmas, _step_noise(sampler, x, sigmas, noise.seed, context.compat), model)
    last = LastStart(sigmas)

    def observe(evaluated: Evaluated) -> None:
        last.observe(evaluated)
        _report(context, evaluated)

    result = yield from drive(running, denoise, sigmas, observe)
    samples = form.raw(model.latent_at(result, sigmas[-1]))
    return replace(latent, samples=samples), replace(latent, samples=form.raw(last.denoised))


def _denoise(
    context: OpContext,
    guider: Guider,
    model: ModelSampling,
    form: LatentFormat,
    sampler: SamplerDef,
    start: Tensor,
) -> Denoise:
    entries = entries_of(guider.sides, (start.shape[-2], start.shape[-1]), model, form)
    conditions = [condition for side in guider.sides.values() for condition in side]
    hoisted = any(condition.text.times is not None for condition in conditions)
    times = TimeTables(partial(guider.modules, "denoiser_time"), context.device) if hoisted else None
    controls = next((condition.controls for condition in conditions if condition.controls), ())
    shapes = [ResidualShape(channels, halvings) for channels, halvings in guider.residuals]
    network = DenoiserNetwork(
        guider.modules("denoiser"), model, times, ControlNets(controls, shapes, form) if shapes else None
    )
    return Guidance(
        network, model, guider_def(guider), entries, guider.numbers, known(guider.patches), guider.joint,
        sampler.needs_uncond,
    )  # fmt: skip


def _normalised(context: OpContext, latent: Latent, form: LatentFormat) -> Tensor:
    """The latent in the sampler's space, on the device. An empty one stays zero whatever the format's shift."""
    samples = form.fitted(latent.samples)
    if samples.ndim != 4 or samples.shape[1] != form.channels:
        raise RunError(
            "the latent does not fit the model",
            where=f"node {context.node}",
            expected=f"(B, {form.channels}, h, w)",
            got=str(tuple(samples.shape)),
            hint="encode it with the VAE of this model's family",
        )
    samples = samples.float().to(context.device)
    empty = form.shift != 0.0 and not samples.any()
    return samples if empty else form.normalised(samples)


def _step_noise(sampler: SamplerDef, x: Tensor, sigmas: Tensor, seed: int, compat: str) -> StepNoise | None:
    if sampler.noise == NO_NOISE:
        return None
    if sampler.noise == BROWNIAN:
        return brownian_noise(x, sigmas, seed)
    return independent_noise(x, step_seed(seed, compat))


def _report(context: OpContext, evaluated: Evaluated) -> None:
    context.progress(evaluated.done, evaluated.total)
    if context.observe is not None:
        context.observe(evaluated)
