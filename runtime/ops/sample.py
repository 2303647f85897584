"""The sampling ops: schedule, noise, what is hoisted out of the loop, and the loop itself.

Sigmas stay on the host; x, noise and text stay on the device; the loop never waits for the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from graphs.errors import RunError
from runtime.ops.controlnet import ControlNets, ResidualShape
from runtime.ops.diffusion import CoreNetwork, WholeNetwork
from runtime.ops.engine_calls import TimeTable, single, time_rows
from runtime.sampling.brownian import brownian_noise
from runtime.sampling.control import ControlSettings
from runtime.sampling.driver import StepProgress, drive
from runtime.sampling.entries import Entry, add_twins, fit_areas, make_entries, share_controls
from runtime.sampling.guidance import Guidance, Network
from runtime.sampling.inpaint import Denoise, Differential, MaskedDenoise, fit_mask
from runtime.sampling.latent_format import LatentFormat
from runtime.sampling.model_sampling import ModelSampling, model_sampling
from runtime.sampling.noise import SEEDS, StepNoise, independent_noise, initial_noise, step_seed
from runtime.sampling.sampler import BROWNIAN, NO_NOISE, SamplerDef
from runtime.sampling.samplers import sampler
from runtime.sampling.sigmas import ksampler_sigmas, step_range

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext
    from runtime.values import Latent

Json = Any


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
    sampler(sampler_name)
    model = model_sampling(context.model)
    sigmas = ksampler_sigmas(model, scheduler, int(steps), float(denoise), sampler_name)
    return step_range(sigmas, start_at_step, end_at_step, return_with_leftover_noise == "disable")


def make_noise(context: OpContext, latent: Latent, seed: int, add_noise: str | bool = True) -> Tensor:
    """noise: like latent.samples, float32. add_noise "disable" (or False) gives zeros."""
    if add_noise in (False, "disable"):
        return torch.zeros(latent.samples.shape, device=context.device)
    return initial_noise(latent.samples.shape, seed, latent.batch_index).to(context.device)


def embed_time(context: OpContext, sigmas: Tensor) -> Tensor:
    """time: (n, E), the time embeddings of the timesteps that the schedule visits (all sigmas but the last)."""
    model = model_sampling(context.model)
    visited = sigmas.cpu()[:-1]
    timesteps = model.timestep(visited) if len(visited) else torch.zeros(1, dtype=torch.int64)
    return time_rows(context.module("unet_time"), timesteps, context.device)[: len(visited)]


def project_context(context: OpContext, embedding: Tensor) -> Tensor:
    """context: (B, T, K), keys and values of every cross-attention for a text. embedding: (B, T, C) float32."""
    outputs = context.module("unet_context")({"context": embedding.to(context.device)})
    return single(outputs, "unet_context").clone()  # an engine may hand out the same buffer at its next call


@torch.no_grad()
def sample(
    context: OpContext,
    latent: Latent,
    noise: Tensor,
    sigmas: Tensor,
    seed: int,
    cfg: float,
    sampler_name: str,
    positive: Tensor | tuple[Tensor, ...],
    negative: Tensor | tuple[Tensor, ...],
    positive_context: Tensor | tuple[Tensor, ...] | None = None,
    negative_context: Tensor | tuple[Tensor, ...] | None = None,
    time: Tensor | None = None,
    positive_masks: tuple[Tensor, ...] = (),
    negative_masks: tuple[Tensor, ...] = (),
    differential: float | None = None,
    control_hints: tuple[Tensor, ...] = (),
    control_strengths: tuple[float, ...] = (),
    control_starts: tuple[float, ...] = (),
    control_ends: tuple[float, ...] = (),
    control_contexts: tuple[Tensor, ...] = (),
    control_times: tuple[Tensor, ...] = (),
) -> Latent:
    """latent: sampled from noise over sigmas, unscaled like the one that came in, with its mask and indices.

    positive, negative: (1, T, C) float32, one per entry; entry options in attrs["positive"] and attrs["negative"] (see
    runtime.sampling.entries). attrs["guidance"]: "joint" evaluates both sides in one call, "separate" (the default)
    does not. The role "unet" is the whole network; with positive_context, negative_context and time it is the core,
    and the role "unet_time" embeds the timesteps that samplers visit off the schedule.

    differential: see runtime.sampling.inpaint. control_*: see ControlInputs; the U-Net takes their residuals, of the
    shapes attrs["residuals"], and control i has the roles controlnet.i, controlnet_hint.i and, where hoisted,
    controlnet_time.i."""
    sigmas = sigmas.float().cpu()
    if len(sigmas) < 2:
        return latent
    model, definition = model_sampling(context.model), sampler(sampler_name)
    form = LatentFormat.of(context.model["latent"])
    start = form.normalised(_checked(context, latent, form).to(context.device))
    noise = noise.to(context.device)
    conds = _conds(positive, negative, positive_context, negative_context, time)
    settings = ControlSettings(control_strengths, control_starts, control_ends)
    control = ControlInputs(control_hints, settings, control_contexts, control_times)
    network = _network(context, model, sigmas, time, control)
    size = (start.shape[-2], start.shape[-1])
    texts = control.texts(_tuple(positive), _tuple(negative))
    sides = _sides(context.attrs, conds, (positive_masks, negative_masks), size, model, control.settings, texts)
    denoise: Denoise = Guidance(
        network, model, *sides, float(cfg), _joint(context.attrs), needs_uncond=definition.needs_uncond
    )
    if latent.noise_mask is not None:
        outside = initial_noise(noise.shape, (seed + 1) % SEEDS) if definition.redraws_outside_mask else noise
        mask = fit_mask(latent.noise_mask.to(context.device), start.shape)
        timed = None if differential is None else Differential.over(model, sigmas, float(differential))
        denoise = MaskedDenoise(denoise, model, mask, start, outside.to(context.device), timed)
    x = model.noise_latent(start, noise, sigmas[0], model.is_max_denoise(sigmas[0]))
    running = definition.start(x, sigmas, _step_noise(definition, x, sigmas, seed, context.compat), model)
    result = drive(running, denoise, StepProgress(sigmas, context.progress))
    return replace(latent, samples=form.raw(result))


Texts = tuple[tuple["Tensor", ...], ...]  # per entry, what each ControlNet takes as its text


@dataclass(frozen=True, eq=False)
class ControlInputs:
    """What a sample step has for its ControlNets, one of each per control.

    hints: images (B, H, W, 3). contexts, times: hoisted, as project_context and embed_time give them; of the contexts
    there is one per control and entry, the positive entries of control 0 first, then its negative ones, then control 1.
    """

    hints: tuple[Tensor, ...] = ()
    settings: ControlSettings = field(default_factory=ControlSettings)
    contexts: tuple[Tensor, ...] = ()
    times: tuple[Tensor, ...] = ()

    def texts(self, positive: tuple[Tensor, ...], negative: tuple[Tensor, ...]) -> tuple[Texts, Texts]:
        """By side."""
        count, entries = len(self.hints), (*positive, *negative)
        if self.contexts:
            width = len(entries)
            found = tuple(tuple(self.contexts[c * width + e] for c in range(count)) for e in range(width))
        else:
            found = tuple((embedding,) * count for embedding in entries)
        return found[: len(positive)], found[len(positive) :]


def _checked(context: OpContext, latent: Latent, form: LatentFormat) -> Tensor:
    if latent.samples.ndim != 4 or latent.samples.shape[1] != form.channels:
        raise RunError(
            "the latent does not fit the model",
            where=f"node {context.node}",
            expected=f"(B, {form.channels}, h, w)",
            got=str(tuple(latent.samples.shape)),
            hint="encode it with the VAE of this model's family",
        )
    return latent.samples.float()


def _tuple(value: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def _conds(
    positive: Tensor | tuple[Tensor, ...],
    negative: Tensor | tuple[Tensor, ...],
    positive_context: Tensor | tuple[Tensor, ...] | None,
    negative_context: Tensor | tuple[Tensor, ...] | None,
    time: Tensor | None,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What the network takes as text, by side: projected where that is hoisted, else the embeddings."""
    if positive_context is None and negative_context is None and time is None:
        return _tuple(positive), _tuple(negative)
    if positive_context is None or negative_context is None or time is None:
        raise RunError("a hoisted sample step lacks a part", expected="positive_context, negative_context and time")
    return _tuple(positive_context), _tuple(negative_context)


def _sides(
    attrs: Mapping[str, Json],
    conds: tuple[tuple[Tensor, ...], tuple[Tensor, ...]],
    masks: tuple[Sequence[Tensor], Sequence[Tensor]],
    size: tuple[int, int],
    model: ModelSampling,
    settings: ControlSettings,
    texts: tuple[Texts, Texts],
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    positive, negative = (
        make_entries(cond, attrs.get(name) or (), mask, size, model, settings, text)
        for name, cond, mask, text in zip(("positive", "negative"), conds, masks, texts, strict=True)
    )
    negative = add_twins(negative, positive)
    positive = add_twins(positive, negative)
    negative = share_controls(positive, negative)
    return fit_areas(positive, size), fit_areas(negative, size)


def _joint(attrs: Mapping[str, Json]) -> bool:
    guidance = attrs.get("guidance", "separate")
    if guidance not in ("joint", "separate"):
        raise RunError("unknown guidance", expected="joint or separate", got=repr(guidance), hint="recompile")
    return bool(guidance == "joint")


def _step_noise(definition: SamplerDef, x: Tensor, sigmas: Tensor, seed: int, compat: str) -> StepNoise | None:
    if definition.noise == NO_NOISE:
        return None
    if definition.noise == BROWNIAN:
        return brownian_noise(x, sigmas, seed)
    return independent_noise(x, step_seed(seed, compat))


def _network(
    context: OpContext, model: ModelSampling, sigmas: Tensor, time: Tensor | None, control: ControlInputs
) -> Network:
    unet = context.module("unet")
    visited = model.timestep(sigmas[:-1])
    nets = _control_nets(context, visited, control) if control.hints else None
    if time is None:
        return WholeNetwork(unet, model, nets)
    return CoreNetwork(unet, model, _table(context, "unet_time", visited, time), nets)


def _control_nets(context: OpContext, visited: Tensor, control: ControlInputs) -> ControlNets:
    tables = [
        _table(context, f"controlnet_time.{index}", visited, time) for index, time in enumerate(control.times)
    ]
    shapes = [ResidualShape(int(channels), int(halvings)) for channels, halvings in context.attrs["residuals"]]
    averaged = [bool(options["averaged"]) for options in context.attrs["controls"]]
    return ControlNets(context, shapes, control.hints, averaged, tables)


def _table(context: OpContext, role: str, visited: Tensor, time: Tensor) -> TimeTable:
    return TimeTable(context, role, dict(zip(visited.tolist(), time.to(context.device), strict=True)))
