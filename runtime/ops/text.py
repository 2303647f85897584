"""encode_text: a prompt to the hidden states of a family's text encoders, weighted as ComfyUI weighs them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from runtime.text.bpe import END_TOKEN
from runtime.text.chunks import Chunk, Slot, Vector, tokenize
from runtime.text.embeddings import find_embedding, load_embedding, missing_embedding

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext

logger = logging.getLogger(__name__)
Json = Any


def encode_text(context: OpContext, text: str, text_l: str | None = None) -> tuple[Tensor, Tensor]:
    """embedding: (1, 77*k, W) float32 for a prompt of k chunks, W the widths of all encoders; pooled: (1, P) float32,
    of the first chunk.

    attrs["text"]: {"encoders": [{"name": "clip_l", "width": 768, "padding": 49407}, ...], "pooled": "clip_l"}; the
    networks are in the roles of those names. The hidden states stand side by side; encoders that make different numbers
    of chunks of one prompt are cut to the least. text_l: the prompt of the first encoder where it has one of its own;
    the shorter of two prompts is then filled up with empty chunks. Source: the observed behaviour of ComfyUI.
    """
    recipe = context.attrs["text"]
    encoders: Sequence[Mapping[str, Json]] = recipe["encoders"]
    texts = [text] * len(encoders)
    if text_l is not None:
        texts[0] = text_l
    chunked = [_chunks(context, encoder, prompt) for encoder, prompt in zip(encoders, texts, strict=True)]
    if text_l is not None:
        most = max(map(len, chunked))
        chunked = [
            [*chunks, *_empty(encoder) * (most - len(chunks))]
            for encoder, chunks in zip(encoders, chunked, strict=True)
        ]
    least = min(map(len, chunked))
    encoded = {
        str(encoder["name"]): _encode(context, encoder, chunks[:least])
        for encoder, chunks in zip(encoders, chunked, strict=True)
    }
    hidden = torch.cat([states for states, _ in encoded.values()], dim=-1)
    return hidden, encoded[str(recipe["pooled"])][1]


def _chunks(context: OpContext, encoder: Mapping[str, Json], text: str) -> list[Chunk]:
    def find(name: str) -> Tensor | None:
        path = find_embedding(name, context.embeddings)
        if path is None and (file := context.compiled_embeddings.get(name)) is not None:
            raise missing_embedding(name, file, f"node {context.node}")
        return None if path is None else load_embedding(path, str(encoder["name"]), int(encoder["width"]))

    return tokenize(text, find, padding=int(encoder["padding"]))


def _empty(encoder: Mapping[str, Json]) -> list[Chunk]:
    return tokenize("", padding=int(encoder["padding"]))


def _encode(context: OpContext, encoder: Mapping[str, Json], chunks: Sequence[Chunk]) -> tuple[Tensor, Tensor]:
    """hidden: (1, 77*k, W), pooled: (1, P), of one encoder.

    All chunks go through the encoder in one batch, with the empty prompt as the last row where any weight is not 1: a
    weight w moves a token's hidden state z to z_empty + w*(z - z_empty).
    """
    width = int(encoder["width"])
    weighted = any(w != 1.0 for chunk in chunks for w in chunk.weights)
    rows = [_fitting(chunk.slots, width) for chunk in chunks]
    if weighted:
        rows.append(list(_empty(encoder)[0].slots))
    outputs = context.module(str(encoder["name"]))(_inputs(rows, width, context.device))
    # Engines may hand out the same buffers at every call.
    hidden, pooled = (outputs[name].to(torch.float32, copy=True) for name in ("hidden", "pooled"))
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
