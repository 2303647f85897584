"""Plain ops on pictures, each a node of its own. image: (B, H, W, C) float32 in [0, 1]; mask: (B, H, W) float32.

Source of all: ComfyUI's image nodes as observed; the recorded pictures are in tests/parity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from graphs.errors import RunError
from runtime.context import OpContext
from runtime.ops.batches import repeated
from runtime.ops.resize import center_crop, eight_bit, resample

GREY = 0.5
MEGAPIXEL = 1024 * 1024


def invert_image(context: OpContext, image: Tensor) -> Tensor:
    return 1.0 - image


def blur_image(context: OpContext, image: Tensor, blur_radius: int, sigma: float) -> Tensor:
    """A Gaussian of 2 * blur_radius + 1 pixels, mirrored at the edges. sigma counts in radii, not in pixels."""
    if blur_radius == 0:
        return image
    kernel = _gaussian(2 * blur_radius + 1, sigma).to(image.device)
    return _filtered(image, kernel, blur_radius)


def sharpen_image(context: OpContext, image: Tensor, sharpen_radius: int, sigma: float, alpha: float) -> Tensor:
    """The image less 10 * alpha times its Gaussian blur, the centre weighted so that flat places stay as they are."""
    if sharpen_radius == 0:
        return image
    kernel = _gaussian(2 * sharpen_radius + 1, sigma) * (-10.0 * alpha)
    kernel[sharpen_radius, sharpen_radius] += 1.0 - kernel.sum()
    return _filtered(image, kernel.to(image.device), sharpen_radius).clamp(0.0, 1.0)


def _gaussian(size: int, sigma: float) -> Tensor:
    """(size, size), sums to 1, over the square from -1 to 1."""
    line = torch.linspace(-1.0, 1.0, size)
    kernel = torch.exp(-(line[:, None].square() + line[None].square()) / (2.0 * sigma * sigma))
    return kernel / kernel.sum()


def _filtered(image: Tensor, kernel: Tensor, radius: int) -> Tensor:
    """Each channel convolved with the kernel; a picture smaller than the radius cannot be mirrored."""
    if min(image.shape[1:3]) <= radius:
        got = f"{image.shape[2]}x{image.shape[1]}"
        raise RunError("the picture is too small for the radius", expected=f"more than {radius} pixels a side", got=got)
    channels = image.shape[-1]
    x = pad(image.movedim(-1, 1), (radius,) * 4, mode="reflect")
    return conv2d(x, kernel.expand(channels, 1, -1, -1), groups=channels).movedim(1, -1)


def scale_image_to_pixels(
    context: OpContext, image: Tensor, upscale_method: str, megapixels: float, resolution_steps: int
) -> Tensor:
    """About so many times 1024 * 1024 pixels, the aspect kept; sides are rounded to multiples of resolution_steps."""
    height, width = image.shape[1:3]
    factor = math.sqrt(megapixels * MEGAPIXEL / (width * height))
    new_width, new_height = (round(n * factor / resolution_steps) * resolution_steps for n in (width, height))
    return resample(image.movedim(-1, 1), new_height, new_width, upscale_method).movedim(1, -1)


def crop_image(context: OpContext, image: Tensor, width: int, height: int, x: int, y: int) -> Tensor:
    """What of the rectangle lies in the picture; its corner is moved into the picture where it lies outside."""
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, y : y + height, x : x + width]


def flip_image(context: OpContext, image: Tensor, flip_method: str) -> Tensor:
    """flip_method: "x-axis: vertically" or "y-axis: horizontally"."""
    return image.flip(1 if flip_method.startswith("x") else 2)


def rotate_image(context: OpContext, image: Tensor, rotation: str) -> Tensor:
    """Clockwise. rotation: "none", "90 degrees", "180 degrees", "270 degrees"."""
    return image.rot90(quarters(rotation), (2, 1))


def quarters(rotation: str) -> int:
    """Quarter turns of a widget's words."""
    number = rotation.partition(" ")[0]
    return int(number) // 90 if number.isdecimal() else 0


def quantize_image(context: OpContext, image: Tensor, colors: int, dither: str) -> Tensor:
    """Each picture with a palette of its own, of so many colours. dither: "none" or "floyd-steinberg".

    The palette is Pillow's median cut; values are truncated to 8 bits first.
    """
    import numpy as np
    from PIL import Image

    spread = Image.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else Image.Dither.NONE
    quantized = []
    for pixels in eight_bit(255.0 * image[..., :3].cpu().numpy()):
        picture = Image.fromarray(pixels, "RGB")
        palette = picture.quantize(colors)
        quantized.append(np.asarray(picture.quantize(palette=palette, dither=spread).convert("RGB")))
    return torch.from_numpy(np.stack(quantized).astype(np.float32) / 255.0).to(image.device)


def empty_image(context: OpContext, width: int, height: int, batch_size: int, color: int) -> Tensor:
    """color: 0xRRGGBB."""
    rgb = [(color >> shift & 255) / 255.0 for shift in (16, 8, 0)]
    return torch.tensor(rgb, device=context.device).expand(batch_size, height, width, 3).contiguous()


def image_size(context: OpContext, image: Tensor) -> tuple[int, int, int]:
    """width, height, batch_size."""
    return image.shape[2], image.shape[1], image.shape[0]


def batch_images(context: OpContext, image1: Tensor, image2: Tensor) -> Tensor:
    """Both behind each other; the second is fitted to the size of the first, and a missing alpha is 1."""
    first, second = _same_channels(image1, image2)
    if first.shape[1:3] != second.shape[1:3]:
        height, width = first.shape[1:3]
        x = center_crop(second.movedim(-1, 1), height, width)
        second = resample(x, height, width, "bilinear").movedim(1, -1)
    return torch.cat((first, second))


def repeat_images(context: OpContext, image: Tensor, amount: int) -> Tensor:
    return image.repeat(amount, 1, 1, 1)


def images_from_batch(context: OpContext, image: Tensor, batch_index: int, length: int) -> Tensor:
    """`length` pictures from one on, as far as there are so many. A negative index counts from the end."""
    start = min(len(image) - 1, batch_index if batch_index >= 0 else max(0, len(image) + batch_index))
    return image[start : start + length].clone()


def split_alpha(context: OpContext, image: Tensor) -> tuple[Tensor, Tensor]:
    """image: (B, H, W, 3); mask: 1 - alpha, 0 where there is no alpha."""
    alpha = image[..., 3] if image.shape[-1] > 3 else torch.ones_like(image[..., 0])
    return image[..., :3], 1.0 - alpha


def join_alpha(context: OpContext, image: Tensor, alpha: Tensor) -> Tensor:
    """image: (B, H, W, 4) with alpha = 1 - mask, which is fitted to the picture; the shorter batch is repeated."""
    mask = _fitted(alpha, image.shape[1], image.shape[2])
    count = max(len(image), len(mask))
    rgb, opaque = repeated(image[..., :3], count), repeated(1.0 - mask, count)
    return torch.cat((rgb, opaque.movedim(1, -1)), -1)


def composite_images(
    context: OpContext,
    destination: Tensor,
    source: Tensor,
    x: int,
    y: int,
    resize_source: bool,
    mask: Tensor | None = None,
) -> Tensor:
    """The source laid on the destination at (x, y) through the mask, as far as it reaches. Alpha is made equal."""
    under, over = _same_channels(destination, source)
    laid = paste(under.movedim(-1, 1), over.movedim(-1, 1), x, y, mask, resize_source)
    return laid.movedim(1, -1)


def paste(under: Tensor, over: Tensor, x: int, y: int, mask: Tensor | None, resize: bool) -> Tensor:
    """under, over: (B, C, H, W). mask: over all of `over`, (B, H, W), fitted to it; None: all of it covers.

    resize: `over` is stretched to the size of `under` first. Corners outside are moved to the edge.
    """
    height, width = under.shape[-2:]
    over = over.to(under.device)
    if resize:
        over = interpolate(over, size=(height, width), mode="bilinear")
    over = repeated(over, len(under))
    x, y = max(-over.shape[-1], min(x, width)), max(-over.shape[-2], min(y, height))
    share = torch.ones_like(over[:, :1]) if mask is None else _fitted(mask.to(under.device), *over.shape[-2:])
    share = repeated(share, len(under))
    left, top = max(0, x), max(0, y)
    right, bottom = min(width, x + over.shape[-1]), min(height, y + over.shape[-2])
    part = (..., slice(top - y, bottom - y), slice(left - x, right - x))
    result, place = under.clone(), (..., slice(top, bottom), slice(left, right))
    result[place] = share[part] * over[part] + (1.0 - share[part]) * under[place]
    return result


def pad_image(
    context: OpContext, image: Tensor, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Tensor, Tensor]:
    """Grey around the picture, and the mask of what is to be painted: 1 there, and fading over `feathering` pixels into
    the picture from each side that was widened, as the square of what is left of the distance."""
    batch, height, width, channels = image.shape
    size = (batch, top + height + bottom, left + width + right, channels)
    padded = torch.full(size, GREY, dtype=torch.float32, device=image.device)
    padded[:, top : top + height, left : left + width] = image
    mask = torch.ones(size[1:3], device=image.device)
    inner = torch.zeros(height, width, device=image.device)
    if feathering > 0 and 2 * feathering < min(height, width):
        rows, columns = torch.arange(height, device=image.device), torch.arange(width, device=image.device)
        far_rows, far_columns = torch.full_like(rows, height), torch.full_like(columns, width)
        down = torch.minimum(rows if top else far_rows, height - rows if bottom else far_rows)
        across = torch.minimum(columns if left else far_columns, width - columns if right else far_columns)
        distance = torch.minimum(down[:, None], across[None])
        inner = ((feathering - distance) / feathering).clamp(min=0.0).square()
    mask[top : top + height, left : left + width] = inner
    return padded, mask.unsqueeze(0)


def _fitted(mask: Tensor, height: int, width: int) -> Tensor:
    """mask: (..., h, w) -> (B, 1, height, width), bilinear."""
    planes = mask.float().reshape(-1, 1, *mask.shape[-2:])
    return interpolate(planes, size=(height, width), mode="bilinear")


def _same_channels(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both with as many channels as the one that has more; an alpha that is added is 1."""
    count = max(first.shape[-1], second.shape[-1])
    return tuple(pad(i, (0, count - i.shape[-1]), value=1.0) for i in (first, second))  # type: ignore[return-value]
