"""Ops on encoded texts: embeddings (B, T, C) and pooled vectors (B, P), joined and mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext


def join_texts(context: OpContext, embedding: Tensor, other: Tensor) -> Tensor:
    """One text after the other: (B, T + T', C)."""
    return torch.cat([embedding, other.to(embedding.device)], dim=1)


def average_texts(context: OpContext, embedding: Tensor, other: Tensor, share: float) -> Tensor:
    """embedding * share + other * (1 - share). The other one is cut to the length of the first, or filled with zeros.

    Source: ConditioningAverage as observed."""
    cut = other.to(embedding.device)[:, : embedding.shape[1]]
    missing = embedding.shape[1] - cut.shape[1]
    if missing:
        cut = pad(cut, (*(0, 0) * (cut.ndim - 2), 0, missing))
    return embedding * share + cut * (1.0 - share)


def zero_text(context: OpContext, embedding: Tensor) -> Tensor:
    """A text that says nothing at all, which the empty prompt does not: zeros."""
    return torch.zeros_like(embedding)
