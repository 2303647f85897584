"""Ops on pictures. image: (B, H, W, 3) float32 in [0, 1]; mask: (B, H, W) float32, 1 where transparent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from graphs.errors import RunError
from runtime.context import OpContext
from runtime.files import find_file
from runtime.ops.resize import center_crop, resample
from runtime.pictures import decoded

if TYPE_CHECKING:
    from PIL.Image import Image

NO_MASK = (64, 64)  # the size of the empty mask of a picture without alpha, as ComfyUI has it


def load_image(context: OpContext, file: str) -> tuple[torch.Tensor, torch.Tensor]:
    """file: a name in the input folder. Gives image (F, H, W, 3) and mask (F, H, W), one per frame of the file.

    Turned by its EXIF orientation; the mask is 1 - alpha, or 64 x 64 zeros without alpha. 16-bit grey is read by its
    high bits. Frames of another size than the first are left out. Raises RunError. Source: LoadImage as observed.
    """
    path = _path(context, file)
    images, masks = decoded(path, _tensors, where=f"node {context.node}")
    return images.to(context.device), masks.to(context.device)


def _tensors(frames: Iterator[Image]) -> tuple[torch.Tensor, torch.Tensor]:
    images: list[torch.Tensor] = []
    masks: list[torch.Tensor] = []
    for frame in frames:
        image, mask = _frame(frame)
        if not images or image.shape == images[0].shape:
            images.append(image)
            masks.append(mask)
    if len({mask.shape for mask in masks}) > 1:  # only some frames have alpha
        masks = [mask if mask.shape == images[0].shape[:2] else torch.zeros(images[0].shape[:2]) for mask in masks]
    return torch.stack(images), torch.stack(masks)


def load_mask(context: OpContext, file: str, channel: str) -> torch.Tensor:
    """file: a name in the input folder. Gives mask (1, H, W): a channel of its first frame, of alpha 1 - alpha.

    Raises RunError. Source: LoadImageMask as observed."""

    def first(frames: Iterator[Image]) -> torch.Tensor:
        return _unit(_upright(next(frames)).convert("RGBA").getchannel(channel[:1].upper()))

    mask = decoded(_path(context, file), first, where=f"node {context.node}")
    return (1.0 - mask if channel == "alpha" else mask).unsqueeze(0).to(context.device)


def _path(context: OpContext, file: str) -> Path:
    return find_file(
        file,
        input_dir=context.input_dir,
        output_dir=context.output_dir,
        temp_dir=context.temp_dir,
        where=f"node {context.node}",
    )


def _upright(frame: Image) -> Image:
    """Turned by its EXIF orientation, and of 8 bits."""
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(frame)
    if picture.mode.startswith("I"):  # 32-bit, and 16-bit in its byte orders
        picture = picture.convert("I").point(lambda value: value * (1 / 255))
    return picture


def _frame(frame: Image) -> tuple[torch.Tensor, torch.Tensor]:
    """image (H, W, 3) and mask (H, W) of one frame."""
    picture = _upright(frame)
    see_through = "A" in picture.getbands() or (picture.mode == "P" and "transparency" in picture.info)
    if not see_through:
        return _unit(picture.convert("RGB")), torch.zeros(NO_MASK)
    coloured = picture.convert("RGBA")
    return _unit(coloured.convert("RGB")), 1.0 - _unit(coloured.getchannel("A"))


def _unit(picture: Image) -> torch.Tensor:
    """8-bit pixels as float32 in [0, 1]."""
    import numpy as np

    return torch.from_numpy(np.array(picture)).to(torch.float32).div_(255.0)


def image_to_u8(context: OpContext, image: torch.Tensor) -> torch.Tensor:
    """Gives uint8: 255 * image, cut to [0, 255] and truncated, as ComfyUI saves. Raises RunError for NaN, infinity."""
    if not bool(torch.isfinite(image).all()):
        hint = "fp16 may have overflowed: compile with --precision fp32"
        raise RunError("the picture has values that are not finite", where=f"node {context.node}", hint=hint)
    return (255.0 * image).clamp(0, 255).to(torch.uint8)


def resize_image(
    context: OpContext, image: torch.Tensor, method: str, width: int, height: int, crop: str
) -> torch.Tensor:
    """To a size in pixels; 0 for one side keeps the aspect, 0 for both the image. Source: ImageScale as observed."""
    if width == 0 and height == 0:
        return image
    old_height, old_width = image.shape[1:3]
    if width == 0:
        width = max(1, round(old_width * height / old_height))
    elif height == 0:
        height = max(1, round(old_height * width / old_width))
    x = image.movedim(-1, 1)
    if crop == "center":
        x = center_crop(x, height, width)
    return resample(x, height, width, method).movedim(1, -1)


def scale_image(context: OpContext, image: torch.Tensor, method: str, factor: float) -> torch.Tensor:
    """By a factor, sizes rounded half to even. Source: ImageScaleBy as observed."""
    height, width = (round(size * factor) for size in image.shape[1:3])
    return resample(image.movedim(-1, 1), height, width, method).movedim(1, -1)
