"""Nearest-neighbour growth to twice the size and a 3x3 convolution, as one transposed convolution with folded weights.

Each output pixel sees at most 2x2 different input pixels, so that 4 of 9 multiplications are left, and the grown
picture is never written. In one dimension, for w0 w1 w2 over a doubled row:
    y[2m]   = w0 x[m-1] + (w1 + w2) x[m]        y[2m+1] = (w0 + w1) x[m] + w2 x[m+1]
which is the transposed convolution of 4 taps w2, w1+w2, w0+w1, w0 with stride 2 and padding 1.
Roofline: 4/9 of the plain convolution's operations at the same rate. Measured figures: docs/adr/0050.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x: (B, C, H, W), weight: (O, C, 3, 3) -> (B, O, 2H, 2W)."""
    return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1)


def fold(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) -> (C, O, 4, 4), summed in float32 and rounded once."""
    return _taps(_taps(weight.float(), 2), 3).transpose(0, 1).contiguous().to(weight.dtype)


def folded_shape(shape: torch.Size) -> torch.Size:
    """Of what `fold` gives for a weight of this shape."""
    return torch.Size((shape[1], shape[0], 4, 4))


def _taps(weight: Tensor, dim: int) -> Tensor:
    """Sums, and no matrix product: this may be the first thing that a process does on the GPU."""
    first, middle, last = weight.unbind(dim)
    return torch.stack([last, middle + last, first + middle, first], dim)


def grown_conv(x: Tensor, folded: Tensor, bias: Tensor | None) -> Tensor:
    """The same as the reference, with the weights that `fold` gives."""
    return F.conv_transpose2d(x, folded, bias, stride=2, padding=1)
