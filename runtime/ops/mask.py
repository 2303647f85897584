"""Ops on masks: (B, H, W) float32 in [0, 1]. Source of all: ComfyUI's mask nodes as observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from graphs.errors import RunError
from runtime.context import OpContext

CHANNELS = ("red", "green", "blue", "alpha")


def grow_mask(context: OpContext, mask: Tensor, expand: int, tapered_corners: bool) -> Tensor:
    """Grown by `expand` pixels, shrunk where negative: each pixel takes the largest value of its neighbours, so often.

    tapered_corners: the four neighbours with a side in common; else all eight. Beyond the edge lies the edge."""
    grown = _planes(mask).unsqueeze(1)
    sign = -1.0 if expand < 0 else 1.0
    grown = grown * sign
    for _ in range(abs(expand)):
        if tapered_corners:
            across = max_pool2d(grown, (1, 3), stride=1, padding=(0, 1))
            grown = torch.maximum(across, max_pool2d(grown, (3, 1), stride=1, padding=(1, 0)))
        else:
            grown = max_pool2d(grown, 3, stride=1, padding=1)
    return (grown * sign).squeeze(1)


def feather_mask(context: OpContext, mask: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Faded linearly over so many pixels from each edge.

    At the right and lower edges ComfyUI is one pixel off: the weakest factor falls on the first column or row, and the
    second weakest on the last. Workflows are made to look right with it, so it is kept."""
    feathered = _planes(mask).clone()
    height, width = feathered.shape[1:]
    for dim, length, near, far in ((2, width, left, right), (1, height, top, bottom)):
        near, far = min(length, near), min(length, far)
        for step in range(near):
            feathered.select(dim, step).mul_((step + 1.0) / near)
        for step in range(far):
            feathered.select(dim, -step % length).mul_((step + 1.0) / far)
    return feathered


def invert_mask(context: OpContext, mask: Tensor) -> Tensor:
    return 1.0 - mask


def threshold_mask(context: OpContext, mask: Tensor, value: float) -> Tensor:
    """1 where the mask is above the value, else 0."""
    return (mask > value).float()


def solid_mask(context: OpContext, value: float, width: int, height: int) -> Tensor:
    return torch.full((1, height, width), value, dtype=torch.float32, device=context.device)


def crop_mask(context: OpContext, mask: Tensor, x: int, y: int, width: int, height: int) -> Tensor:
    """What of the rectangle lies in the mask. Raises RunError where nothing does."""
    cut = _planes(mask)[:, y : y + height, x : x + width]
    if cut.numel() == 0:
        got = f"{mask.shape[-1]}x{mask.shape[-2]}"
        raise RunError(f"the mask has no pixel from ({x}, {y}) on", where=f"node {context.node}", got=got)
    return cut


_OPERATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "multiply": torch.mul,
        "add": torch.add,
        "subtract": torch.sub,
        "and": lambda a, b: (a.round().bool() & b.round().bool()).float(),
        "or": lambda a, b: (a.round().bool() | b.round().bool()).float(),
        "xor": lambda a, b: (a.round().bool() ^ b.round().bool()).float(),
    }
)


def composite_mask(context: OpContext, destination: Tensor, source: Tensor, x: int, y: int, operation: str) -> Tensor:
    """The source laid on the destination at (x, y), as far as it reaches; cut to [0, 1]."""
    if operation not in _OPERATIONS:
        known = ", ".join(_OPERATIONS)
        raise RunError("no such operation", where=f"node {context.node}", expected=known, got=operation)
    result, laid = _planes(destination).clone(), _planes(source)
    part = result[:, y : y + laid.shape[1], x : x + laid.shape[2]]
    part.copy_(_OPERATIONS[operation](part, laid[:, : part.shape[1], : part.shape[2]]))
    return result.clamp(0.0, 1.0)


def mask_to_image(context: OpContext, mask: Tensor) -> Tensor:
    """image: (B, H, W, 3), grey."""
    return _planes(mask).unsqueeze(-1).expand(-1, -1, -1, 3)


def image_to_mask(context: OpContext, image: Tensor, channel: str) -> Tensor:
    """One channel of a picture. Raises RunError where the picture has none of that name."""
    if channel not in CHANNELS or CHANNELS.index(channel) >= image.shape[-1]:
        raise RunError(
            f"the picture has no {channel} channel",
            where=f"node {context.node}",
            expected=", ".join(CHANNELS[: image.shape[-1]]),
            hint="a picture's transparency is the MASK output of LoadImage" if channel == "alpha" else None,
        )
    return image[..., CHANNELS.index(channel)]


def _planes(mask: Tensor) -> Tensor:
    """(..., H, W) -> (B, H, W) float32."""
    return mask.float().reshape(-1, *mask.shape[-2:])
