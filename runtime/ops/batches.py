"""Batches of different length, made equal."""

from __future__ import annotations

from torch import Tensor


def repeated(x: Tensor, count: int) -> Tensor:
    """x: (B, ...) -> (count, ...): repeated as often as needed and cut, or cut alone."""
    if len(x) == count:
        return x
    return x.repeat(-(-count // len(x)), *(1,) * (x.dim() - 1))[:count]
