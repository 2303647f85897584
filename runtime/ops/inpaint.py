"""Ops that prepare a latent for sampling inside a mask. runtime.sampling.inpaint is what sampling does with it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from runtime.context import OpContext
from runtime.values import Latent

PIXELS = 8  # to a latent unit, as VAEEncodeForInpaint counts them
GREY = 0.5


def set_noise_mask(context: OpContext, latent: Latent, mask: Tensor) -> Latent:
    """The latent with a noise mask: 1 where sampling happens. mask: (B, H, W) of any size, which sampling fits."""
    return replace(latent, noise_mask=mask.float().reshape(-1, 1, *mask.shape[-2:]))


def grey_out(context: OpContext, image: Tensor, mask: Tensor, grow: int) -> tuple[Tensor, Tensor]:
    """image: (B, H, W, 3) with what the rounded mask covers made grey; mask: (B, H, W), rounded and grown.

    Both are cut about their centre to multiples of 8 pixels. A mask of another size is fitted bilinearly. It grows by a
    square of `grow` pixels; an even one reaches further to the left and to the top by half a pixel, and the lower right
    edge is cut off. attrs["soft"]: the mask is only fitted and cut, neither rounded nor grown. Source: the observed
    behaviour of VAEEncodeForInpaint and InpaintModelConditioning.
    """
    height, width = image.shape[1:3]
    fitted = mask.float().reshape(-1, 1, *mask.shape[-2:]).to(image.device)
    fitted = interpolate(fitted, size=(height, width), mode="bilinear", align_corners=False)
    rows, columns = height // PIXELS * PIXELS, width // PIXELS * PIXELS
    top, left = height % PIXELS // 2, width % PIXELS // 2
    cut, fitted = (t[..., top : top + rows, left : left + columns] for t in (image.movedim(-1, 1)[:, :3], fitted))
    covered = fitted.round()
    if context.attrs.get("soft"):
        kept = fitted
    else:
        kept = (fitted if grow == 0 else _grown(covered, grow))[..., :rows, :columns].round()
    greyed = (cut - GREY) * (1.0 - covered) + GREY
    return greyed.movedim(1, -1).contiguous(), kept.squeeze(1)


def _grown(mask: Tensor, by: int) -> Tensor:
    kernel = torch.ones(1, 1, by, by, device=mask.device)
    return conv2d(mask, kernel, padding=math.ceil((by - 1) / 2)).clamp(0.0, 1.0)
