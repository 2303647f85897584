"""What some models are given beside text and latent: a vector of pooled text and numbers, and more channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from graphs.errors import RunError
from runtime.ops.resize import center_crop, resample
from runtime.sampling.latent_format import LatentFormat

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext
    from runtime.values import Latent

Json = Any
# Scores of the SDXL refiner where a workflow says none, by side. Source: the observed behaviour of ComfyUI.
SCORES = {"negative": 2.5}
SCORE = 6.0


def text_sizes(
    context: OpContext,
    width: int,
    height: int,
    crop_w: int | None = None,
    crop_h: int | None = None,
    target_width: int | None = None,
    target_height: int | None = None,
    ascore: float | None = None,
) -> dict[str, float]:
    """The numbers that a workflow gives for a vector condition, by name."""
    given = {
        "width": width, "height": height, "crop_w": crop_w, "crop_h": crop_h, "target_width": target_width,
        "target_height": target_height, "ascore": ascore,
    }  # fmt: skip
    return {name: float(number) for name, number in given.items() if number is not None}


def make_vector(
    context: OpContext, pooled: Tensor, latent: Latent, sizes: Mapping[str, float] | None = None
) -> Tensor:
    """vector: (1, V) float32, the pooled text and a sinusoid of each number that the model's recipe names.

    Numbers that the workflow does not give are those of the latent's picture, uncropped; the target is the size.
    attrs["side"] decides the aesthetic score then. Source: Podell et al. 2023 (SDXL), section 2.2.
    """
    recipe = context.model["vector"]
    downscale = int(context.model["latent"]["downscale"])
    height, width = (float(side * downscale) for side in latent.samples.shape[-2:])
    given = {"width": width, "height": height, **(sizes or {})}
    numbers = {
        "crop_w": 0.0, "crop_h": 0.0, "target_width": given["width"], "target_height": given["height"],
        "ascore": SCORES.get(str(context.attrs.get("side")), SCORE), **given,
    }  # fmt: skip
    values = torch.tensor([numbers[name] for name in recipe["numbers"]])
    waves = _sinusoid(values, int(recipe["width"])).reshape(1, -1)
    return torch.cat([pooled[:1].float(), waves.to(pooled.device)], dim=-1)


def _sinusoid(values: Tensor, width: int) -> Tensor:
    """values: (N,) -> (N, width): cosines, then sines, of v * 10000^(-i / (width/2))."""
    half = width // 2
    rates = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
    angles = values[:, None].float() * rates[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


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
