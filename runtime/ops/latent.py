"""Ops on latents, and between latents and pictures. Pixels in widgets are 8 to a latent unit."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from graphs.errors import RunError
from runtime.context import OpContext
from runtime.ops.resize import center_crop, resample
from runtime.sampling.latent_format import LatentFormat
from runtime.values import Latent

log = logging.getLogger(__name__)

# What the widgets of latent nodes mean, whatever the model: sampling gives an empty latent the model's channels.
WIDGETS = LatentFormat(channels=4, downscale=8)
MIN_PIXELS = 64  # LatentUpscale goes no smaller


def empty_latent(context: OpContext, width: int, height: int, batch_size: int) -> Latent:
    """width, height: pixels. Gives zeros (batch_size, 4, height//8, width//8)."""
    size = (height // WIDGETS.downscale, width // WIDGETS.downscale)
    return Latent(torch.zeros(batch_size, WIDGETS.channels, *size, device=context.device))


def resize_latent(context: OpContext, latent: Latent, method: str, width: int, height: int, crop: str) -> Latent:
    """To a size in pixels, at least 64 each; 0 for one side keeps the aspect, 0 for both keeps the latent.

    The noise mask stays as it is: sampling fits it to the samples. Source: LatentUpscale as observed.
    """
    if width == 0 and height == 0:
        return latent
    old_height, old_width = latent.samples.shape[-2:]
    if width == 0:
        height = max(MIN_PIXELS, height)
        width = max(MIN_PIXELS, round(old_width * height / old_height))
    elif height == 0:
        width = max(MIN_PIXELS, width)
        height = max(MIN_PIXELS, round(old_height * width / old_width))
    else:
        width, height = max(MIN_PIXELS, width), max(MIN_PIXELS, height)
    samples = latent.samples
    units = (height // WIDGETS.downscale, width // WIDGETS.downscale)
    if crop == "center":
        samples = center_crop(samples, *units)
    return replace(latent, samples=resample(samples, *units, method))


def scale_latent(context: OpContext, latent: Latent, method: str, factor: float) -> Latent:
    """By a factor, in latent units, rounded half to even. Source: LatentUpscaleBy as observed."""
    height, width = (round(size * factor) for size in latent.samples.shape[-2:])
    return replace(latent, samples=resample(latent.samples, height, width, method))


def decode_latent(context: OpContext, latent: Latent) -> torch.Tensor:
    """Gives the image (B, H, W, 3) float32 in [0, 1]."""
    return _run(context, "vae_decoder", "latent", latent.samples)


def decode_latent_u8(context: OpContext, latent: Latent) -> torch.Tensor:
    """Gives image_u8 (B, H, W, 3) uint8, as decode_latent and image_to_u8 would.

    Raises RunError for a latent with values that are not finite. What becomes not finite in the decoder is black in 8
    bits: a picture that is black all over is warned about.
    """
    if not bool(torch.isfinite(latent.samples).all()):
        hint = "fp16 may have overflowed (compile with --precision fp32), or the model file is damaged (fetch it again)"
        raise RunError("the latent has values that are not finite", where=f"node {context.node}", hint=hint)
    image = _run(context, "vae_decoder_u8", "latent", latent.samples)
    if image.numel() and not bool(image.any()):
        log.warning(
            "node %s: the picture is black all over, as values that are not finite (NaN) look in 8 bits: the VAE may be"
            " damaged, or have overflowed in fp16",
            context.node,
        )
    return image


def encode_image(context: OpContext, image: torch.Tensor) -> Latent:
    """image: (B, H, W, 3 or more) float32 in [0, 1], cut about its centre to multiples of the VAE's downscale.

    Gives the mean of the posterior, unscaled. Source: VAEEncode as observed.
    """
    factor = LatentFormat.of(context.attrs["latent"]).downscale
    height, width = image.shape[1:3]
    top, left = height % factor // 2, width % factor // 2
    cut = image[:, top : top + height // factor * factor, left : left + width // factor * factor, :3]
    return Latent(_run(context, "vae_encoder", "image", cut.contiguous()))


def _run(context: OpContext, role: str, name: str, value: torch.Tensor) -> torch.Tensor:
    """The one output of a network: a copy, since an engine may write into the same buffer at its next call."""
    (output,) = context.module(role)({name: value}).values()
    return output.clone()


def blank_latent(context: OpContext, latent: Latent) -> Latent:
    """A latent of zeros, as large as another."""
    return Latent(torch.zeros_like(latent.samples))
