"""Multi-head attention with the heads as an axis of their own, which is the layout that engines fuse."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, *, causal: bool = False) -> Tensor:
    """q: (B, S, heads*D), k and v: (B, T, heads*D) -> (B, S, heads*D). Scale 1/sqrt(D)."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))  # type: ignore[no-untyped-call]
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """GEGLU: a Linear to twice the inner width, value times GELU(gate), a Linear back. Keys net.0.proj, net.2.

    Source: Shazeer, GLU Variants Improve Transformer (2020), section 2.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.net = nn.ModuleDict(
            {"0": nn.ModuleDict({"proj": nn.Linear(width, 2 * inner)}), "2": nn.Linear(inner, width)}
        )

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.net["0"]["proj"](x).chunk(2, dim=-1)  # type: ignore[index]
        out: Tensor = self.net["2"](value * F.gelu(gate))
        return out


class Attention(nn.Module):
    """Keys to_q, to_k, to_v, to_out.0. projects_context False: to_k and to_v live in another engine."""

    def __init__(self, width: int, context: int, heads: int, *, core: bool = True, kv: bool = True) -> None:
        super().__init__()
        self.heads = heads
        if core:
            self.to_q = nn.Linear(width, width, bias=False)
            self.to_out = nn.ModuleDict({"0": nn.Linear(width, width)})
        if kv:
            self.to_k = nn.Linear(context, width, bias=False)
            self.to_v = nn.Linear(context, width, bias=False)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """context: (B, T, context) -> k, v: (B, T, width)."""
        return self.to_k(context), self.to_v(context)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        out: Tensor = self.to_out["0"](attend(self.to_q(x), keys, values, self.heads))
        return out


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward, each behind a layer norm and a residual."""

    def __init__(self, width: int, context: int, heads: int, *, core: bool, kv: bool) -> None:
        super().__init__()
        self.attn2 = Attention(width, context, heads, core=core, kv=kv)
        if core:
            self.attn1 = Attention(width, width, heads)
            self.ff = FeedForward(width, 4 * width)
            self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """x: (B, S, width); keys, values: of the text, (B, T, width)."""
        h = self.norm1(x)
        x = x + self.attn1(h, *self.attn1.keys_values(h))
        x = x + self.attn2(self.norm2(x), keys, values)
        return x + torch.as_tensor(self.ff(self.norm3(x)))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of a feature map. linear: proj_in and proj_out are Linear, else 1x1 convs."""

    def __init__(self, width: int, context: int, heads: int, depth: int, linear: bool, *, core: bool, kv: bool) -> None:
        super().__init__()
        self.linear = linear
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, context, heads, core=core, kv=kv) for _ in range(depth)
        )
        if core:
            self.norm = nn.GroupNorm(32, width, eps=1e-6)
            self.proj_in = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)
            self.proj_out = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, keys_values: list[tuple[Tensor, Tensor]]) -> Tensor:
        """x: (B, width, H, W); keys_values: one pair per block."""
        height, width = x.shape[-2:]
        h = self.norm(x)
        h = h if self.linear else self.proj_in(h)
        h = h.flatten(2).transpose(1, 2)
        h = self.proj_in(h) if self.linear else h
        for block, (keys, values) in zip(self.transformer_blocks, keys_values, strict=True):
            h = block(h, keys, values)
        h = self.proj_out(h) if self.linear else h
        h = h.transpose(1, 2).unflatten(2, (height, width))
        return x + torch.as_tensor(h if self.linear else self.proj_out(h))
