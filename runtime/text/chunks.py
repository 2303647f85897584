"""Tokens of a prompt in chunks of 77, as the text encoder takes them. Source: the observed behaviour of ComfyUI."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.text.bpe import END_TOKEN, START_TOKEN, token_ids
from runtime.text.prompt import weighted_pieces

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

LENGTH = 77
LONG_GROUP = 8  # a group of that many tokens may be cut at the end of a chunk; a shorter one moves to the next
MARK = "embedding:"
_BEFORE_MARK = re.compile(rf"[ \n](?={MARK})")

# name -> its vectors (n, W); None where there is no such embedding
FindVectors = Callable[[str], "Tensor | None"]


@dataclass(frozen=True, eq=False)
class Vector:
    """A textual inversion vector in a token's place. values: (W,) float32."""

    values: Tensor


Slot = int | Vector


@dataclass(frozen=True)
class Chunk:
    """slots and weights: 77 each, start and end tokens included, padded with the end token."""

    slots: tuple[Slot, ...]
    weights: tuple[float, ...]


def no_vectors(name: str) -> Tensor | None:
    """A FindVectors that knows no embedding."""
    return None


def tokenize(
    text: str, find: FindVectors = no_vectors, *, length: int = LENGTH, padding: int = END_TOKEN
) -> list[Chunk]:
    """The chunks of a prompt; one even for an empty text. An unknown embedding is dropped, with a warning."""
    groups: list[tuple[list[Slot], float]] = []
    for piece, weight in weighted_pieces(text):
        groups.extend((group, weight) for group in _token_groups(piece, find))
    return [_pad(chunk, length, padding) for chunk in _fill(groups, length - 2)]


def _token_groups(piece: str, find: FindVectors) -> list[list[Slot]]:
    """The groups of tokens that a piece of equal weight makes: its text, cut where an embedding starts."""
    groups: list[list[Slot]] = []
    for part in _BEFORE_MARK.split(piece):
        text = part
        if part.startswith(MARK):
            vectors, text = _embedding(part.removeprefix(MARK).strip("\n"), find)
            if vectors is not None:
                groups.append([Vector(v) for v in vectors])
        if text:
            groups.append(list(token_ids(text)))
    return [g for g in groups if g]


def _embedding(text: str, find: FindVectors) -> tuple[Tensor | None, str]:
    """The vectors that the first word of a text names, and the text behind it. Commas around the name may be part of
    it; where they are not, they are text."""
    name, *others = text.split() or [""]
    rest = " ".join(others)
    vectors = find(name)
    if vectors is None and (bare := name.strip(",")) != name:
        vectors, rest = find(bare), f"{name[len(bare):]} {rest}"
    if vectors is None:
        logger.warning("the prompt names the embedding '%s', which is not in the embeddings folder: left out", name)
    return vectors, rest


def _fill(groups: list[tuple[list[Slot], float]], room: int) -> list[list[tuple[Slot, float]]]:
    """Chunks of at most `room` tokens."""
    chunks: list[list[tuple[Slot, float]]] = [[]]
    for group, weight in groups:
        slots = [(slot, weight) for slot in group]
        at, long = 0, len(slots) >= LONG_GROUP
        while len(slots) - at > (free := room - len(chunks[-1])):
            if long:
                chunks[-1].extend(slots[at : at + free])
                at += free
            chunks.append([])
        chunks[-1].extend(slots[at:])
    return chunks


def _pad(chunk: list[tuple[Slot, float]], length: int, padding: int) -> Chunk:
    full = [(START_TOKEN, 1.0), *chunk, (END_TOKEN, 1.0)]
    full += [(padding, 1.0)] * (length - len(full))
    return Chunk(tuple(slot for slot, _ in full), tuple(weight for _, weight in full))
