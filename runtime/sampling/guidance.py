"""Classifier-free guidance over conditioning entries: from a network to denoised predictions.

Source: Ho & Salimans 2022, arXiv 2207.12598, eq. 6, on denoised predictions. Which entries share a network call,
and how overlapping entries blend, follow ComfyUI as observed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch

from runtime.sampling.control import ControlInput
from runtime.sampling.entries import weight
from runtime.sampling.sampler import Prediction

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.entries import Entry
    from runtime.sampling.model_sampling import ModelSampling

NO_GUIDANCE_TOLERANCE = 1e-9  # relative: a cfg this close to 1 needs no uncond
MOST_REPEATS = 4  # texts of different lengths are joined while the shorter repeats at most this often
NOTHING = 1e-37  # the weight that every point starts from, so that an uncovered one gives 0 and not 0 / 0


class Network(Protocol):
    """The diffusion network behind an engine."""

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor, controls: Sequence[ControlInput] = ()) -> Tensor:
        """x: (N, C, h, w) scaled to unit variance. sigma: 0-dim host. cond: (N, T, K). Gives (N, C, h, w) float32."""


@dataclass(frozen=True)
class _Place:
    """An entry on its side: 0 positive, 1 negative."""

    side: int
    index: int


@dataclass(eq=False)
class Guidance:
    """The denoise function of one request: (x, sigma) -> Prediction.

    positive, negative: entries with twins added and areas fitted. joint: one network call for all entries that can
    share it, the negative ones first; else a call each. needs_uncond: evaluate the negative side at every cfg."""

    network: Network
    model: ModelSampling
    positive: Sequence[Entry]
    negative: Sequence[Entry]
    cfg: float
    joint: bool = True
    needs_uncond: bool = False
    _joined: dict[tuple[object, ...], Tensor] = field(default_factory=dict)
    _weights: dict[_Place, Tensor] = field(default_factory=dict)

    def __call__(self, x: Tensor, sigma: Tensor) -> Prediction:
        guided = not math.isclose(self.cfg, 1.0, rel_tol=NO_GUIDANCE_TOLERANCE)
        sides = 2 if guided or self.needs_uncond else 1
        now = float(sigma)
        places = [
            _Place(side, index)
            for side in range(sides)
            for index, entry in enumerate(self._entries(side))
            if entry.counts_at(now)
        ]
        denoised = self._evaluate(x, sigma, places)
        cond, *rest = (self._blend(x, side, places, denoised) for side in range(sides))
        uncond = rest[0] if rest else None
        if uncond is None or not guided:
            return Prediction(cond, uncond)
        return Prediction(uncond + (cond - uncond) * self.cfg, uncond)

    def _entries(self, side: int) -> Sequence[Entry]:
        return self.negative if side else self.positive

    def _entry(self, place: _Place) -> Entry:
        return self._entries(place.side)[place.index]

    def _evaluate(self, x: Tensor, sigma: Tensor, places: list[_Place]) -> dict[_Place, Tensor]:
        """The denoised prediction of each entry, over its own area."""
        scaled = self.model.scale_input(x, sigma)
        found: dict[_Place, Tensor] = {}
        now = float(sigma)
        for group in self._groups(places, now):
            cond = self._joined_text(group, x.shape[0])
            parts = [self._part(scaled, place) for place in group]
            output = self.network(
                torch.cat(parts) if len(parts) > 1 else parts[0].contiguous(),
                sigma,
                cond,
                tuple(
                    ControlInput(control, self._joined_text(group, x.shape[0], control.index), len(group))
                    for control in self._entry(group[0]).controls_at(now)
                ),
            )
            for place, out in zip(group, torch.split(output, x.shape[0]), strict=True):
                found[place] = self.model.denoised(self._part(x, place), out, sigma)
        return found

    def _part(self, x: Tensor, place: _Place) -> Tensor:
        area = self._entry(place).area
        return x if area is None else area.cut(x)

    def _groups(self, places: list[_Place], sigma: float) -> list[list[_Place]]:
        """Entries that share a call, the last ones first: the same size on the latent, the same ControlNets at work,
        text lengths that can be joined."""
        if not self.joint:
            return [[place] for place in places]
        groups: list[list[_Place]] = []
        for place in reversed(places):
            for group in groups:
                if self._alike(group[0], place, sigma) and self._lengths_join([*group, place]):
                    group.append(place)
                    break
            else:
                groups.append([place])
        return groups

    def _alike(self, one: _Place, other: _Place, sigma: float) -> bool:
        controls = (self._entry(place).controls_at(sigma) for place in (one, other))
        return self._size(one) == self._size(other) and next(controls) == next(controls)

    def _size(self, place: _Place) -> tuple[int, int] | None:
        area = self._entry(place).area
        return None if area is None else (area.height, area.width)

    def _lengths_join(self, group: list[_Place]) -> bool:
        lengths = [self._entry(place).cond.shape[1] for place in group]
        return math.lcm(*lengths) <= MOST_REPEATS * min(lengths)

    def _joined_text(self, group: list[_Place], batch: int, control: int | None = None) -> Tensor:
        """The conds of a group for a whole batch, (len(group) * batch, T, K), or what a ControlNet takes as such; made
        once.

        A shorter text is repeated to the common length: attention over a repeated text gives the same."""
        key = (batch, control, *group)
        if key not in self._joined:
            entries = [self._entry(place) for place in group]
            conds = [e.cond if control is None else e.control_texts[control] for e in entries]
            length = math.lcm(*(cond.shape[1] for cond in conds))
            copies = [_for_batch(cond.repeat(1, length // cond.shape[1], 1), batch) for cond in conds]
            self._joined[key] = torch.cat(copies) if len(copies) > 1 else copies[0]
        return self._joined[key]

    def _blend(self, x: Tensor, side: int, places: list[_Place], denoised: dict[_Place, Tensor]) -> Tensor:
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


def _for_batch(cond: Tensor, batch: int) -> Tensor:
    """(B or 1, T, K) -> (batch, T, K)."""
    if cond.shape[0] == batch:
        return cond.contiguous()
    return cond.repeat(-(-batch // cond.shape[0]), 1, 1)[:batch]
