"""Guidance over conditioning entries: from a network to denoised predictions.

Which entries share a network call, and how overlapping entries blend, follow ComfyUI as observed; how the sides become
one prediction is the guider's (runtime.sampling.guiders).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch

from runtime.sampling.entries import weight
from runtime.sampling.patches import Chain
from runtime.sampling.rows import Rows, lengths_join
from runtime.sampling.sampler import Prediction

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.batching import Calls
    from runtime.sampling.entries import Entry
    from runtime.sampling.guiders import GuiderDef
    from runtime.sampling.model_sampling import ModelSampling
    from runtime.sampling.patches import PatchDef

NOTHING = 1e-37  # the weight that every point starts from, so that an uncovered one gives 0 and not 0 / 0


class Network(Protocol):
    """The diffusion network behind an engine."""

    def __call__(self, x: Tensor, sigma: Tensor, rows: Rows) -> Calls[Tensor]:
        """x: (rows.count, C, h, w) scaled to unit variance. sigma: 0-dim host. Gives (rows.count, C', h, w) float32,
        valid until the next call."""


@dataclass(frozen=True)
class _Place:
    """An entry on its side."""

    side: str
    index: int


@dataclass(eq=False)
class Guidance:
    """The denoise function of one request: (x, sigma) -> Prediction.

    sides: entries by name, twins added and areas fitted. joint: one network call for all entries that can share it, the
    last ones first; else a call each. needs_uncond: evaluate the unconditional side whatever the numbers."""

    network: Network
    model: ModelSampling
    guider: GuiderDef
    sides: Mapping[str, Sequence[Entry]]
    numbers: Mapping[str, float]
    patches: Sequence[tuple[PatchDef, tuple[float, ...]]] = ()
    joint: bool = True
    needs_uncond: bool = False
    _made: dict[tuple[object, ...], list[tuple[list[_Place], Rows]]] = field(default_factory=dict)
    _weights: dict[_Place, Tensor] = field(default_factory=dict)

    def __call__(self, x: Tensor, sigma: Tensor) -> Calls[Prediction]:
        needed = set(self.guider.needed(self.numbers))
        uncond = self.guider.uncond
        if self.needs_uncond and uncond is not None:
            needed.add(uncond)
        names = [name for name in self.guider.sides if name in needed]
        now = float(sigma)
        places = [
            _Place(name, index)
            for name in names
            for index, entry in enumerate(self.sides[name])
            if entry.counts_at(now)
        ]
        denoised = yield from self._evaluate(x, sigma, places)
        sides = {name: self._blend(x, name, places, denoised) for name in names}
        guided = self.guider.combine(sides, self.numbers, Chain(self.patches, x, sigma))
        return Prediction(guided, sides.get(uncond) if uncond is not None else None)

    def _entry(self, place: _Place) -> Entry:
        return self.sides[place.side][place.index]

    def _evaluate(self, x: Tensor, sigma: Tensor, places: list[_Place]) -> Calls[dict[_Place, Tensor]]:
        """The denoised prediction of each entry, over its own area."""
        scaled = self.model.scale_input(x, sigma)
        found: dict[_Place, Tensor] = {}
        now = float(sigma)
        for group, rows in self._calls(places, x.shape[0], now):
            inputs = rows.with_concat([self._part(scaled, place) for place in group])
            output = yield from self.network(inputs, sigma, rows)
            for place, out in zip(group, torch.split(output, x.shape[0]), strict=True):
                found[place] = self.model.denoised(self._part(x, place), out, sigma)
        return found

    def _part(self, x: Tensor, place: _Place) -> Tensor:
        area = self._entry(place).area
        return x if area is None else area.cut(x)

    def _calls(self, places: list[_Place], batch: int, sigma: float) -> list[tuple[list[_Place], Rows]]:
        """The calls of one evaluation, made once for each set of entries and ControlNets that comes up."""
        key = (batch, *((place, self._entry(place).acting_at(sigma)) for place in places))
        if key not in self._made:
            self._made[key] = [
                (group, Rows(tuple(map(self._entry, group)), batch, self._entry(group[0]).acting_at(sigma)))
                for group in self._groups(places, sigma)
            ]
        return self._made[key]

    def _groups(self, places: list[_Place], sigma: float) -> list[list[_Place]]:
        """Entries that share a call, the last ones first: the same size on the latent, the same ControlNets at work,
        text lengths that can be joined."""
        if not self.joint:
            return [[place] for place in places]
        groups: list[list[_Place]] = []
        for place in reversed(places):
            for group in groups:
                entries = [self._entry(one) for one in (*group, place)]
                if _alike(entries[0], entries[-1], sigma) and lengths_join(entries):
                    group.append(place)
                    break
            else:
                groups.append([place])
        return groups

    def _blend(self, x: Tensor, side: str, places: list[_Place], denoised: dict[_Place, Tensor]) -> Tensor:
        """The weighted mean of a side's entries at each point; 0 where none counts."""
        own = [place for place in places if place.side == side]
        if len(own) == 1 and self._entry(own[0]).plain:
            return denoised[own[0]]
        total, counts = torch.zeros_like(x), torch.full_like(x, NOTHING)
        for place in own:
            if place not in self._weights:
                self._weights[place] = weight(self._entry(place), x)
            self._part(total, place).add_(denoised[place] * self._weights[place])
            self._part(counts, place).add_(self._weights[place])
        return total / counts


def _alike(one: Entry, other: Entry, sigma: float) -> bool:
    """Whether two entries may share a call, whatever their texts."""
    return (
        _size(one) == _size(other)
        and one.acting_at(sigma) == other.acting_at(sigma)
        and (one.concat is None) == (other.concat is None)
        and (one.text.vector is None) == (other.text.vector is None)
    )


def _size(entry: Entry) -> tuple[int, int] | None:
    return None if entry.area is None else (entry.area.height, entry.area.width)
