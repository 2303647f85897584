"""Attention with heads too wide for the fused kernels (the VAE's single head of 512): products, softmax, in row blocks.

The only fused kernel that takes such heads, the memory-efficient one, runs at a seventh of the rate of the products.
The scores are float32 where the 16-bit type is bfloat16, whose 8 bits would double the error.
Roofline: 4 * rows * columns * width operations, and the scores written and read twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 4096  # of the scores at a time: 128 MB for a picture of 1024 pixels


def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(B, H, S, D) each, without a mask; float32 throughout."""
    scores = q.float() @ k.float().transpose(-1, -2) * q.shape[-1] ** -0.5
    return torch.as_tensor((scores.softmax(-1) @ v.float()).to(q.dtype))


def wide_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As the reference, in the type of q."""
    batch, heads, rows, width = q.shape
    q, k, v = (t.reshape(batch * heads, t.shape[2], width) for t in (q * width**-0.5, k, v))
    keys = k.transpose(1, 2)
    wide = q.dtype == torch.bfloat16 and q.is_cuda
    blocks = []
    for block in q.split(ROWS, dim=1):
        scores = torch.bmm(block, keys, out_dtype=torch.float32) if wide else torch.bmm(block, keys)
        blocks.append(torch.bmm(scores.softmax(-1).to(v.dtype), v))
    return torch.cat(blocks, dim=1).reshape(batch, heads, rows, width)
