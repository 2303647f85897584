"""Plain ops on latents, each a node of its own: cut, turned, mixed, put into batches.

Widgets count pixels, 8 to a latent unit whatever the model, as these nodes of ComfyUI do. Source: their observed
behaviour; recorded latents are in tests/parity.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from runtime.context import OpContext
from runtime.ops.batches import repeated
from runtime.ops.pictures import paste, quarters
from runtime.ops.resize import center_crop, resample
from runtime.values import Latent

UNIT = 8  # pixels
LEAST = 8  # units that a crop leaves to the right and below its corner


def add_latents(context: OpContext, samples1: Latent, samples2: Latent) -> Latent:
    return replace(samples1, samples=samples1.samples + _like(samples2.samples, samples1.samples))


def subtract_latents(context: OpContext, samples1: Latent, samples2: Latent) -> Latent:
    return replace(samples1, samples=samples1.samples - _like(samples2.samples, samples1.samples))


def multiply_latent(context: OpContext, samples: Latent, multiplier: float) -> Latent:
    return replace(samples, samples=samples.samples * multiplier)


def interpolate_latents(context: OpContext, samples1: Latent, samples2: Latent, ratio: float) -> Latent:
    """Direction and length of each place's vector are mixed by themselves: `ratio` of the first."""
    first = samples1.samples
    second = _like(samples2.samples, first)
    length1, length2 = (torch.linalg.vector_norm(x, dim=1, keepdim=True) for x in (first, second))
    mixed = ratio * torch.nan_to_num(first / length1) + (1.0 - ratio) * torch.nan_to_num(second / length2)
    direction = torch.nan_to_num(mixed / torch.linalg.vector_norm(mixed, dim=1, keepdim=True))
    return replace(samples1, samples=direction * (ratio * length1 + (1.0 - ratio) * length2))


def blend_latents(context: OpContext, samples1: Latent, samples2: Latent, blend_factor: float) -> Latent:
    """blend_factor: the share of the first."""
    first, second = samples1.samples, samples2.samples
    if first.shape != second.shape:
        second = _sized(second, first, "bicubic")
    return replace(samples1, samples=first * blend_factor + second * (1.0 - blend_factor))


def crop_latent(context: OpContext, samples: Latent, width: int, height: int, x: int, y: int) -> Latent:
    """What of the rectangle lies in the latent; its corner leaves at least 8 units to the right and below."""
    whole = samples.samples
    left, top = (
        min(corner // UNIT, size - LEAST) for corner, size in ((x, whole.shape[-1]), (y, whole.shape[-2]))
    )
    left, top = max(0, left), max(0, top)
    return replace(samples, samples=whole[..., top : top + height // UNIT, left : left + width // UNIT])


def flip_latent(context: OpContext, samples: Latent, flip_method: str) -> Latent:
    """flip_method: "x-axis: vertically" or "y-axis: horizontally"."""
    return replace(samples, samples=samples.samples.flip(2 if flip_method.startswith("x") else 3))


def rotate_latent(context: OpContext, samples: Latent, rotation: str) -> Latent:
    """Clockwise. rotation: "none", "90 degrees", "180 degrees", "270 degrees"."""
    return replace(samples, samples=samples.samples.rot90(quarters(rotation), (3, 2)))


def composite_latents(
    context: OpContext, samples_to: Latent, samples_from: Latent, x: int, y: int, feather: int
) -> Latent:
    """The second laid on the first at (x, y), as far as it reaches; its edges fade linearly over `feather` pixels where
    they do not lie on an edge of the first."""
    under, over = samples_to.samples, samples_from.samples
    left, top, fade = x // UNIT, y // UNIT, feather // UNIT
    height, width = over.shape[-2:]
    over = over[..., : max(0, under.shape[-2] - top), : max(0, under.shape[-1] - left)]
    share = torch.ones_like(over[:1, :1])
    for t in range(fade):
        weight = (t + 1) / fade
        for dim, length, near, far in (
            (2, height, top != 0, top + height < under.shape[2]),
            (3, width, left != 0, left + width < under.shape[3]),
        ):
            if near and t < share.shape[dim]:
                share.select(dim, t).mul_(weight)
            if far and 0 <= length - 1 - t < share.shape[dim]:
                share.select(dim, length - 1 - t).mul_(weight)
    result = under.clone()
    place = result[..., top : top + over.shape[-2], left : left + over.shape[-1]]
    place.copy_(repeated(over, len(under)) * share + place * (1.0 - share))
    return replace(samples_to, samples=result)


def composite_latents_masked(
    context: OpContext,
    destination: Latent,
    source: Latent,
    x: int,
    y: int,
    resize_source: bool,
    mask: Tensor | None = None,
) -> Latent:
    """The source laid on the destination at (x, y) through the mask, as far as it reaches."""
    laid = paste(destination.samples, source.samples, x // UNIT, y // UNIT, mask, resize_source)
    return replace(destination, samples=laid)


def batch_latents(context: OpContext, samples1: Latent, samples2: Latent) -> Latent:
    """Both behind each other, the second fitted to the size of the first. Each keeps its places for noise."""
    first, second = samples1.samples, samples2.samples
    if first.shape[1:] != second.shape[1:]:
        second = _sized(second, first, "bilinear")
    places = (*_places(samples1), *_places(samples2))
    return replace(samples1, samples=torch.cat((first, second)), batch_index=places)


def repeat_latent(context: OpContext, samples: Latent, amount: int) -> Latent:
    """Noise of each repetition differs: its places follow those of the one before."""
    x, mask, places = samples.samples, samples.noise_mask, samples.batch_index
    if mask is not None and len(mask) > 1:
        mask = repeated(mask, len(x)).repeat(amount, 1, 1, 1)
    if places is not None:
        step = max(places) - min(places) + 1
        places = tuple(place + step * n for n in range(amount) for place in places)
    return Latent(x.repeat(amount, 1, 1, 1), mask, places)


def latent_from_batch(context: OpContext, samples: Latent, batch_index: int, length: int) -> Latent:
    """`length` latents from one on, as far as there are so many, with the noise that each had in the batch.

    A negative index counts from the end."""
    x, mask = samples.samples, samples.noise_mask
    start = min(len(x) - 1, batch_index if batch_index >= 0 else max(0, len(x) + batch_index))
    chosen = slice(start, start + length)
    if mask is not None and len(mask) > 1:
        mask = repeated(mask, len(x))[chosen].clone()
    return Latent(x[chosen].clone(), mask, _places(samples)[chosen])


def fix_batch_seed(context: OpContext, samples: Latent, seed_behavior: str) -> Latent:
    """ "fixed": every sample gets the noise of the first; "random": the noise of its place in the batch."""
    if seed_behavior == "fixed":
        return replace(samples, batch_index=(_places(samples)[0],) * len(samples.samples))
    return replace(samples, batch_index=None)


def _places(latent: Latent) -> tuple[int, ...]:
    return latent.batch_index if latent.batch_index is not None else tuple(range(len(latent.samples)))


def _like(x: Tensor, model: Tensor) -> Tensor:
    """Fitted to the size of the other, and repeated to as many."""
    return repeated(x if x.shape[1:] == model.shape[1:] else _sized(x, model, "bilinear"), len(model))


def _sized(x: Tensor, model: Tensor, method: str) -> Tensor:
    height, width = model.shape[-2:]
    return resample(center_crop(x, height, width), height, width, method)
