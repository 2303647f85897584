"""Resampling as ComfyUI's nodes do it: torch without antialias, Pillow for lanczos, and bislerp.

Source: the observed behaviour of ImageScale and LatentUpscale (golden pictures in tests/parity).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate

from graphs.errors import RunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TORCH_METHODS = ("nearest-exact", "bilinear", "area", "bicubic")
METHODS = (*TORCH_METHODS, "lanczos", "bislerp")


def center_crop(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """x: (B, C, h, w), cut about its centre to the aspect of (height, width); not resized."""
    old_height, old_width = x.shape[-2:]
    old_aspect, new_aspect = old_width / old_height, width / height
    top = left = 0
    if old_aspect > new_aspect:
        left = round((old_width - old_width * (new_aspect / old_aspect)) / 2)
    elif old_aspect < new_aspect:
        top = round((old_height - old_height * (old_aspect / new_aspect)) / 2)
    return x[..., top : old_height - top, left : old_width - left]


def resample(x: torch.Tensor, height: int, width: int, method: str) -> torch.Tensor:
    """x: (B, C, h, w) float32 -> (B, C, height, width). Raises RunError for an empty size or an unknown method."""
    if height < 1 or width < 1:
        raise RunError(f"cannot resize to {width} x {height}", hint="choose a larger size or factor")
    if method == "lanczos":
        return _lanczos(x, height, width)
    if method == "bislerp":
        return _bislerp(x, height, width)
    if method not in TORCH_METHODS:
        raise RunError("unknown resize method", expected=", ".join(METHODS), got=method)
    return undivided(lambda: interpolate(x, size=(height, width), mode=method))


def undivided(compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The result of a torch computation whose work is not split over threads.

    torch rounds bilinear differently when it splits the work; after truncation that shows in 2% of the pixels. The
    recorded pictures were made with one thread, and a picture should not depend on how many cores there are.

    How far a call is split is a number of the calling thread, so a thread of its own computes with 1. Setting the
    number of the present thread and putting it back would not do: torch.set_num_threads also sets the number with which
    new threads begin, and two sessions that resize at once would leave the process with 1.
    """
    return _UNDIVIDED.submit(compute).result()


def _undivided_thread() -> ThreadPoolExecutor:
    """A thread whose torch calls are not split."""
    threads = torch.get_num_threads()
    executor = ThreadPoolExecutor(1, "resize", initializer=torch.set_num_threads, initargs=(1,))
    executor.submit(torch.get_num_threads).result()  # it has begun with 1 ...
    torch.set_num_threads(threads)  # ... and threads that begin from now on do not
    return executor


_UNDIVIDED = _undivided_thread()  # made on import, before sessions are at work


def _lanczos(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Through 8-bit pictures: values are cut to [0, 255] and truncated on the way in."""
    import numpy as np
    from PIL import Image

    pixels = eight_bit(255.0 * x.movedim(1, -1).cpu().numpy())
    if pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    sized = [np.asarray(Image.fromarray(p).resize((width, height), Image.Resampling.LANCZOS)) for p in pixels]
    out = torch.from_numpy(np.stack(sized).astype(np.float32) / 255.0)
    out = out.unsqueeze(-1) if out.ndim == 3 else out
    return out.movedim(-1, 1).to(device=x.device, dtype=x.dtype)


def eight_bit(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Cut to [0, 255] and truncated."""
    pixels: NDArray[np.uint8] = values.clip(0, 255).astype("uint8")
    return pixels


def _bislerp(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bilinear in place, spherical in direction: along the width first, then along the height."""
    wide = _slerp_axis(x.float().movedim(1, -1), width)  # (B, h, width, C)
    tall = _slerp_axis(wide.transpose(1, 2), height)  # (B, width, height, C)
    return tall.permute(0, 3, 2, 1).contiguous().to(x.dtype)


def _slerp_axis(x: torch.Tensor, size: int) -> torch.Tensor:
    """x: (B, a, n, C) -> (B, a, size, C), each output between its two neighbours on the third axis."""
    n = x.shape[2]
    ramp = torch.arange(n, dtype=torch.float32, device=x.device)
    place = _bilinear_line(ramp, size)
    left = place.to(torch.int64)
    right = _bilinear_line((ramp + 1).clamp(max=n - 1), size).to(torch.int64)
    return _slerp(x[:, :, left], x[:, :, right], (place - place.floor()).unsqueeze(-1))


def _bilinear_line(values: torch.Tensor, size: int) -> torch.Tensor:
    return interpolate(values.reshape(1, 1, 1, -1), size=(1, size), mode="bilinear").flatten()


def _slerp(a: torch.Tensor, b: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """a, b: (..., C); t in [0, 1]. Directions turn along the great circle, lengths change linearly.

    Equal directions give a, opposite ones plain linear interpolation; a zero vector has no direction.
    """
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    unit_a = torch.where(length_a == 0, 0.0, a / length_a)
    unit_b = torch.where(length_b == 0, 0.0, b / length_b)
    cosine = (unit_a * unit_b).sum(-1, keepdim=True)
    angle = cosine.acos()
    share_a, share_b = ((1 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()
    turned = share_a * unit_a + share_b * unit_b
    out = turned * (length_a * (1 - t) + length_b * t)
    out = torch.where(cosine > 1 - 1e-5, a, out)
    return torch.where(cosine < 1e-5 - 1, a * (1 - t) + b * t, out)
