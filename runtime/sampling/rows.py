"""The rows of one call of a network: the batches of several entries, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.conditions import Text
    from runtime.sampling.control import Acting
    from runtime.sampling.entries import Entry

MOST_REPEATS = 4  # texts of different lengths are joined while the shorter repeats at most this often


@dataclass(eq=False)
class Rows:
    """entries: each with `batch` rows. What is joined for them is made once and kept. acting: in this call."""

    entries: tuple[Entry, ...]
    batch: int
    acting: tuple[Acting, ...] = ()
    _joined: dict[tuple[str, int | None], Tensor] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.entries) * self.batch

    def texts(self, control: int | None = None) -> tuple[Text, ...]:
        """Of each entry, as the denoiser takes it or a ControlNet."""
        return tuple(e.text if control is None else e.controls[control].text for e in self.entries)

    def text(self, control: int | None = None) -> Tensor:
        """(count, T, K). A shorter text is repeated to the common length: attention over a repeated text gives the
        same."""
        key = ("text", control)
        if key not in self._joined:
            tensors = [text.tensor for text in self.texts(control)]
            length = math.lcm(*(tensor.shape[1] for tensor in tensors))
            self._joined[key] = self._join([tensor.repeat(1, length // tensor.shape[1], 1) for tensor in tensors])
        return self._joined[key]

    def vector(self, control: int | None = None) -> Tensor | None:
        """(count, V), or None where the network has no vector condition."""
        key = ("vector", control)
        if key not in self._joined:
            vectors = [text.vector for text in self.texts(control)]
            if any(vector is None for vector in vectors):
                return None
            self._joined[key] = self._join([vector for vector in vectors if vector is not None])
        return self._joined[key]

    def with_concat(self, parts: Sequence[Tensor]) -> Tensor:
        """The input of the network: parts, each (batch, C, h, w), and the channels that their entries add."""
        inputs = [self._beside(entry, part) for entry, part in zip(self.entries, parts, strict=True)]
        return torch.cat(inputs) if len(inputs) > 1 else inputs[0].contiguous()

    def _beside(self, entry: Entry, part: Tensor) -> Tensor:
        if entry.concat is None:
            return part
        concat = entry.concat.to(part.device)
        concat = concat if entry.area is None else entry.area.cut(concat)
        return torch.cat([part, for_batch(concat, self.batch)], dim=1)

    def _join(self, tensors: Sequence[Tensor]) -> Tensor:
        copies = [for_batch(tensor, self.batch) for tensor in tensors]
        return torch.cat(copies) if len(copies) > 1 else copies[0]


def lengths_join(entries: Sequence[Entry]) -> bool:
    """Whether texts of these lengths go into one call."""
    lengths = [entry.text.tensor.shape[1] for entry in entries]
    return math.lcm(*lengths) <= MOST_REPEATS * min(lengths)


def for_batch(tensor: Tensor, batch: int) -> Tensor:
    """(B or 1, ...) -> (batch, ...), repeated or cut."""
    if tensor.shape[0] == batch:
        return tensor.contiguous()
    return tensor.repeat(-(-batch // tensor.shape[0]), *(1 for _ in tensor.shape[1:]))[:batch]
