"""Group norm and SiLU over channels-last pictures: two reads and one write of the tensor, spread over every SM.

Inductor gives one block to each (picture, group), 32 of an H100's 132 SMs, and reads a group's few channels out of each
pixel. Here each block reads whole pixels of a run of rows:
  sums   (picture, chunk): per group the sum and the sum of squares about a pivot, into a partial result
  fold   (picture): partial results -> per channel scale and shift
  apply  (picture, chunk): x * scale + shift, then SiLU
The pivot, the first pixel's mean of a group, keeps the squares from cancelling where the mean is large.
Roofline: 3 * size / bandwidth. Source: Wu and He, Group Normalization (2018), equation 7.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton

_TILE = 8192  # elements that a block holds in registers at a time
_BLOCKS = 528  # four for each SM of an H100


def reference(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
    """The same by torch. x: (B, C, H, W)."""
    out = F.group_norm(x, groups, weight, bias, eps)
    return F.silu(out) if silu else out


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
    """x: (B, C, H, W), best channels last. What traces this sees the kernels, not an operator."""
    batch, channels, height, width = x.shape
    pixels = height * width
    x = x.contiguous(memory_format=torch.channels_last)
    block_c = triton.next_power_of_2(channels)
    rows = max(1, _TILE // block_c)
    chunks = max(1, min(triton.cdiv(pixels, rows), _BLOCKS // batch))
    per_chunk = triton.cdiv(triton.cdiv(pixels, chunks), rows) * rows
    chunks = triton.cdiv(pixels, per_chunk)
    partial = torch.empty((batch, chunks, 2, channels), dtype=torch.float32, device=x.device)
    scale_shift = torch.empty((batch, 2, channels), dtype=torch.float32, device=x.device)
    out = torch.empty_like(x, memory_format=torch.channels_last)
    wrap_triton(_sums)[(chunks, batch)](
        x, partial, pixels, channels, per_chunk, chunks, ROWS=rows, BLOCK_C=block_c, num_warps=8
    )
    wrap_triton(_fold)[(batch * groups,)](
        x, partial, weight, bias, scale_shift, pixels, channels, groups, chunks, eps,
        WIDTH=channels // groups, BLOCK_W=triton.next_power_of_2(channels // groups), BLOCK_N=64, num_warps=4,
    )
    wrap_triton(_apply)[(chunks, batch)](
        x, scale_shift, out, pixels, channels, per_chunk, ROWS=rows, BLOCK_C=block_c, SILU=silu, num_warps=8
    )
    return out


# Arguments without annotations: Inductor writes the kernels into modules of its own, which lack our imports.
@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _sums(  # type: ignore[no-untyped-def]
    x, partial, pixels, channels, per_chunk, chunks,
    ROWS: tl.constexpr, BLOCK_C: tl.constexpr,
) -> None:  # fmt: skip
    """Per channel, about the picture's first pixel: sum and sum of squares of a chunk's rows."""
    chunk, picture = tl.program_id(0), tl.program_id(1)
    start = picture.to(tl.int64) * pixels * channels
    c = tl.arange(0, BLOCK_C)
    inside = c < channels
    pivot = tl.load(x + start + c, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros((ROWS, BLOCK_C), tl.float32)
    squares = tl.zeros((ROWS, BLOCK_C), tl.float32)
    for first in range(0, per_chunk, ROWS):
        row = chunk * per_chunk + first + tl.arange(0, ROWS)
        mask = (row < pixels)[:, None] & inside[None, :]
        value = tl.load(x + start + row.to(tl.int64)[:, None] * channels + c[None, :], mask=mask, other=0.0)
        value = tl.where(mask, value.to(tl.float32) - pivot[None, :], 0.0)
        total += value
        squares += value * value
    place = partial + (picture * chunks + chunk) * 2 * channels
    tl.store(place + c, tl.sum(total, axis=0), mask=inside)
    tl.store(place + channels + c, tl.sum(squares, axis=0), mask=inside)


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _fold(  # type: ignore[no-untyped-def]
    x, partial, weight, bias, scale_shift, pixels, channels, groups,
    chunks, eps, WIDTH: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_N: tl.constexpr,
) -> None:  # fmt: skip
    """Partial results of one group of one picture -> scale and shift of its channels."""
    picture, group = tl.program_id(0) // groups, tl.program_id(0) % groups
    w = tl.arange(0, BLOCK_W)
    inside = w < WIDTH
    c = group * WIDTH + w
    total = tl.zeros((BLOCK_N, BLOCK_W), tl.float32)
    squares = tl.zeros((BLOCK_N, BLOCK_W), tl.float32)
    base = partial + picture * chunks * 2 * channels
    for first in range(0, chunks, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        mask = (n < chunks)[:, None] & inside[None, :]
        place = base + n[:, None] * 2 * channels + c[None, :]
        total += tl.load(place, mask=mask, other=0.0)
        squares += tl.load(place + channels, mask=mask, other=0.0)
    pivot = tl.load(x + picture.to(tl.int64) * pixels * channels + c, mask=inside, other=0.0).to(tl.float32)
    mean_c = tl.sum(total, axis=0) / pixels  # of a channel, about its pivot
    spread_c = tl.sum(squares, axis=0) / pixels - mean_c * mean_c
    mean_c += pivot
    mean = tl.sum(tl.where(inside, mean_c, 0.0), axis=0) / WIDTH
    between = tl.where(inside, mean_c - mean, 0.0)
    variance = tl.sum(tl.where(inside, spread_c, 0.0) + between * between, axis=0) / WIDTH
    scale = tl.rsqrt(variance + eps) * tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + c, mask=inside, other=0.0).to(tl.float32) - mean * scale
    tl.store(scale_shift + picture * 2 * channels + c, scale, mask=inside)
    tl.store(scale_shift + picture * 2 * channels + channels + c, shift, mask=inside)


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _apply(  # type: ignore[no-untyped-def]
    x, scale_shift, out, pixels, channels, per_chunk,
    ROWS: tl.constexpr, BLOCK_C: tl.constexpr, SILU: tl.constexpr,
) -> None:  # fmt: skip
    """The last chunks first: they are what the L2 cache still holds."""
    chunk, picture = tl.num_programs(0) - 1 - tl.program_id(0), tl.program_id(1)
    start = picture.to(tl.int64) * pixels * channels
    c = tl.arange(0, BLOCK_C)
    inside = c < channels
    scale = tl.load(scale_shift + picture * 2 * channels + c, mask=inside, other=0.0)[None, :]
    shift = tl.load(scale_shift + picture * 2 * channels + channels + c, mask=inside, other=0.0)[None, :]
    for first in range(0, per_chunk, ROWS):
        row = chunk * per_chunk + first + tl.arange(0, ROWS)
        mask = (row < pixels)[:, None] & inside[None, :]
        place = start + row.to(tl.int64)[:, None] * channels + c[None, :]
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) * scale + shift
        if SILU:
            value = value * tl.sigmoid(value)
        tl.store(out + place, value.to(out.dtype.element_ty), mask=mask)
