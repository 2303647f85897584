"""The vector condition of some models: the pooled text and numbers that a workflow sets."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext
    from runtime.values import Latent

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
    waves = _waves(tuple(numbers[name] for name in recipe["numbers"]), int(recipe["width"]), pooled.device)
    return torch.cat([pooled[:1].float(), waves], dim=-1)


@functools.lru_cache(maxsize=64)
def _waves(numbers: tuple[float, ...], width: int, device: torch.device) -> Tensor:
    """(1, numbers * width), kept: a picture's size seldom changes, and many small steps of the host are slow."""
    with torch.inference_mode(False):
        return _sinusoid(torch.tensor(numbers), width).reshape(1, -1).to(device)


def _sinusoid(values: Tensor, width: int) -> Tensor:
    """values: (N,) -> (N, width): cosines, then sines, of v * 10000^(-i / (width/2))."""
    half = width // 2
    rates = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
    angles = values[:, None].float() * rates[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
