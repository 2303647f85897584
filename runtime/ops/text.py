"""encode_text: a prompt to the text encoder's hidden states, weighted as ComfyUI weighs them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from runtime.text.bpe import END_TOKEN
from runtime.text.chunks import Chunk, Slot, Vector, tokenize
from runtime.text.embeddings import find_embedding, load_embedding

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext

logger = logging.getLogger(__name__)


def encode_text(context: OpContext, text: str) -> tuple[Tensor, Tensor]:
    """embedding: (1, 77*k, W) float32 for a prompt of k chunks; pooled: (1, P) float32, of the first chunk.

    All chunks go through the encoder in one batch, with the empty prompt as the last row where any weight is not 1: a
    weight w moves a token's hidden state z to z_empty + w*(z - z_empty). attrs["clip"]["max_batch"], where given, is
    the most rows in one call. Source: the observed behaviour of ComfyUI.
    """
    clip = context.attrs["clip"]
    width, max_batch = int(clip["width"]), int(clip.get("max_batch") or 0)

    def find(name: str) -> Tensor | None:
        path = find_embedding(name, context.embeddings)
        return None if path is None else load_embedding(path, width)

    chunks = tokenize(text, find)
    weighted = any(w != 1.0 for chunk in chunks for w in chunk.weights)
    rows = [_fitting(chunk.slots, width) for chunk in chunks]
    if weighted:
        rows.append(list(tokenize("")[0].slots))
    hidden, pooled = _run(context, rows, width, max_batch or len(rows))
    if weighted:
        hidden = _weigh(hidden[:-1], hidden[-1:], chunks)
    return hidden.reshape(1, -1, hidden.shape[-1]), pooled[:1]


def _fitting(slots: Sequence[Slot], width: int) -> list[Slot]:
    """Without the vectors that are made for another text encoder, padded to the same length."""
    kept = [s for s in slots if not isinstance(s, Vector) or s.values.shape[-1] == width]
    wrong = len(slots) - len(kept)
    if wrong:
        logger.warning("%d embedding vectors are not %d wide, as this text encoder needs: left out", wrong, width)
    return kept + [END_TOKEN] * wrong


def _run(context: OpContext, rows: Sequence[Sequence[Slot]], width: int, at_once: int) -> tuple[Tensor, Tensor]:
    """hidden: (B, 77, W) float32, pooled: (B, P) float32."""
    module = context.module("clip")
    hidden, pooled = [], []
    for start in range(0, len(rows), at_once):
        outputs = module(_inputs(rows[start : start + at_once], width, context.device))
        # Engines may hand out the same buffers at every call.
        hidden.append(outputs["hidden"].to(torch.float32, copy=True))
        pooled.append(outputs["pooled"].to(torch.float32, copy=True))
    return torch.cat(hidden), torch.cat(pooled)


def _inputs(rows: Sequence[Sequence[Slot]], width: int, device: torch.device) -> dict[str, Tensor]:
    tokens = torch.tensor([[0 if isinstance(s, Vector) else s for s in row] for row in rows], dtype=torch.int64)
    override = torch.zeros(*tokens.shape, width)
    mask = torch.zeros(*tokens.shape, 1)
    for i, row in enumerate(rows):
        for j, slot in enumerate(row):
            if isinstance(slot, Vector):
                override[i, j], mask[i, j] = slot.values, 1.0
    return {"tokens": tokens.to(device), "override": override.to(device), "override_mask": mask.to(device)}


def _weigh(hidden: Tensor, empty: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """hidden: (k, 77, W); empty: (1, 77, W)."""
    weights = torch.tensor([chunk.weights for chunk in chunks], dtype=torch.float32, device=hidden.device)[..., None]
    return torch.where(weights == 1.0, hidden, (hidden - empty) * weights + empty)
