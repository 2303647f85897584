"""Channels that some models are given beside the latent's: a picture, and where to paint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from graphs.errors import RunError
from runtime.ops.resize import center_crop, resample
from runtime.sampling.latent_format import LatentFormat

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext
    from runtime.values import Latent


def make_concat(
    context: OpContext, latent: Latent, image: Latent | None = None, mask: Tensor | None = None
) -> Tensor:
    """concat: (B, C, h, w) float32, the channels that the model's recipe names, for the latent that is sampled.

    image: LATENT of the picture, else the latent itself where it has a noise mask, else a blank one. mask: (B, H, W),
    rounded at the latent's size; without one the latent's noise mask, or ones. Source: the observed behaviour of
    ComfyUI, v0.3.64.
    """
    recipe = context.model["concat"]
    form = LatentFormat.of(context.model["latent"])
    batch, _, height, width = latent.samples.shape
    device = context.device
    if mask is None:
        mask = latent.noise_mask
    picture = image.samples if image is not None else (latent.samples if mask is not None else None)
    if picture is None or (image is None and recipe["raw"]):
        blank = torch.tensor(recipe["blank"], device=device).reshape(1, -1, 1, 1)
        shown = blank.expand(batch, -1, height, width)
    else:
        raw = picture.to(device).float()
        shown = _fitted(raw if recipe["raw"] else form.normalised(raw), batch, height, width)
    if mask is None:
        painted = torch.ones(batch, 1, height, width, device=device)
    else:
        planes = mask.to(device).float().reshape(-1, 1, *mask.shape[-2:])
        painted = _fitted(planes, batch, height, width).round()
    channels = {"mask": painted, "image": shown}
    return torch.cat([channels[name] for name in recipe["channels"]], dim=1)


def _fitted(x: Tensor, batch: int, height: int, width: int) -> Tensor:
    """(B', C, h', w') at the latent's size and batch: a smaller batch is repeated, a larger one cut."""
    if x.shape[-2:] != (height, width):
        x = resample(center_crop(x, height, width), height, width, "bilinear")
    if x.shape[0] < batch:
        x = x.repeat(-(-batch // x.shape[0]), 1, 1, 1)
    if not x.shape[0]:
        raise RunError("there is no picture to show the model", expected="a batch of at least one")
    return x[:batch]
