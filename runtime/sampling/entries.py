"""The entries of a conditioning, for a latent of some size and a model: where each counts, when, and how strongly.

The rules are ComfyUI's, as observed (areas, masks, feathering, twins).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import interpolate

from graphs.errors import RunError
from runtime.sampling.conditions import ALWAYS, Control, Text
from runtime.sampling.control import acting

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.conditions import Condition, Place
    from runtime.sampling.control import Acting
    from runtime.sampling.latent_format import LatentFormat
    from runtime.sampling.model_sampling import ModelSampling

FEATHER = 8  # latent units over which an inner edge of an area fades, at most a quarter of the area
SMALLEST_BOUNDS = 8  # latent units
POSITIVE = "positive"  # the side whose controls others may share


@dataclass(frozen=True)
class Area:
    """A rectangle of the latent, in latent units."""

    height: int
    width: int
    y: int
    x: int

    def cut(self, tensor: Tensor) -> Tensor:
        """The view of (..., h, w) that it covers."""
        return tensor[..., self.y : self.y + self.height, self.x : self.x + self.width]

    def encloses(self, other: Area) -> bool:
        return (
            other.y >= self.y
            and other.x >= self.x
            and other.y + other.height <= self.y + self.height
            and other.x + other.width <= self.x + self.width
        )


@dataclass(frozen=True, eq=False)
class Entry:
    """One entry. mask: (B or 1, h, w), at latent size. concat: (B or 1, C, h, w), channels beside the latent's.

    It counts where low <= sigma <= high. acting: what ControlNets do to it. controls: the guider's ControlNets with
    this entry's text, by index."""

    text: Text
    area: Area | None = None
    strength: float = 1.0
    mask: Tensor | None = None
    high: float | None = None
    low: float | None = None
    concat: Tensor | None = None
    acting: tuple[Acting, ...] = ()
    controls: tuple[Control, ...] = ()

    def counts_at(self, sigma: float) -> bool:
        return (self.high is None or sigma <= self.high) and (self.low is None or sigma >= self.low)

    def acting_at(self, sigma: float) -> tuple[Acting, ...]:
        return tuple(control for control in self.acting if control.acts_at(sigma))

    @property
    def plain(self) -> bool:
        """Whether it counts everywhere with weight 1."""
        return self.area is None and self.mask is None and self.strength == 1.0


def entries_of(
    sides: Mapping[str, Sequence[Condition]], size: tuple[int, int], model: ModelSampling, form: LatentFormat
) -> dict[str, tuple[Entry, ...]]:
    """The entries of every side, twins added, controls shared and areas fitted. size: (h, w) of the latent."""
    found = {name: tuple(_entry(c, size, model, form) for c in conditions) for name, conditions in sides.items()}
    for name in found:
        for other in found:
            if other != name:
                found[other] = add_twins(found[other], found[name])
    if POSITIVE in found:
        for name in [name for name in found if name != POSITIVE]:
            found[name] = share_controls(found[POSITIVE], found[name])
    return {name: fit_areas(entries, size) for name, entries in found.items()}


def _entry(condition: Condition, size: tuple[int, int], model: ModelSampling, form: LatentFormat) -> Entry:
    place, span = condition.place, condition.span
    mask = _mask(place, size)
    area = None if place.area is None else _area(place, size, form)
    return Entry(
        text=condition.text,
        area=_bounds(mask) if mask is not None and place.bounds else area,
        strength=place.strength,
        mask=None if mask is None else mask * place.mask_strength,
        high=None if span == ALWAYS else model.percent_to_sigma(span.start),
        low=None if span == ALWAYS else model.percent_to_sigma(span.end),
        concat=condition.concat,
        acting=acting(condition.controls, condition.acting, model),
        controls=condition.controls,
    )


def _area(place: Place, size: tuple[int, int], form: LatentFormat) -> Area:
    assert place.area is not None
    h, w, y, x = place.area
    if place.shares:
        return Area(max(1, round(h * size[0])), max(1, round(w * size[1])), round(y * size[0]), round(x * size[1]))
    return Area(*(int(side) // form.downscale for side in place.area))


def _mask(place: Place, size: tuple[int, int]) -> Tensor | None:
    """(B or 1, h, w) at latent size: bilinear without antialias."""
    if place.mask is None:
        return None
    mask = place.mask.float()
    mask = mask.reshape(-1, *mask.shape[-2:])
    if tuple(mask.shape[-2:]) != size:
        mask = interpolate(mask.unsqueeze(1), size=size, mode="bilinear", align_corners=False).squeeze(1)
    return mask


def _bounds(mask: Tensor) -> Area:
    """The bounding box of the mask's nonzero part, at least 8 x 8; an empty mask gives the corner."""
    rows, columns = (torch.nonzero(mask.abs().amax(dim=dims)).flatten() for dims in ((0, 2), (0, 1)))
    if len(rows) == 0:
        return Area(SMALLEST_BOUNDS, SMALLEST_BOUNDS, 0, 0)
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
    return Area(max(SMALLEST_BOUNDS, height), max(SMALLEST_BOUNDS, width), top, left)


def add_twins(entries: Sequence[Entry], others: Sequence[Entry]) -> tuple[Entry, ...]:
    """entries, plus one for each area that only the other side has: that entry's place with this side's text.

    So both sides are cut and weighted alike. The text is that of the smallest area here that encloses it (an entry
    without an area encloses everything, and yields to one with an area)."""
    result = list(entries)
    for other in others:
        if other.area is None:
            continue
        best: Entry | None = None
        for entry in result:
            if entry.area is None:
                best = best or entry
            elif entry.area.encloses(other.area) and (
                best is None or best.area is None or _size(best.area) > _size(entry.area)
            ):
                best = entry
        if best is not None and best.area != other.area:
            result.append(replace(other, text=best.text, concat=best.concat, controls=best.controls))
    return tuple(result)


def _size(area: Area) -> int:
    return area.height * area.width


def share_controls(positive: Sequence[Entry], negative: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries of another side, with the controls of those positive ones whose last control is shared.

    Entries with an area neither give nor take. Nothing is shared where a negative entry has controls of its own. The
    entries without take turns; one that has had its turn is doubled."""
    givers = [e for e in positive if e.area is None and e.acting and e.acting[-1].shared]
    takers = [index for index, e in enumerate(negative) if e.area is None]
    result = list(negative)
    if not takers or any(negative[index].acting for index in takers):
        return tuple(result)
    for turn, giver in enumerate(givers):
        index = takers[turn % len(takers)]
        given = replace(result[index], acting=giver.acting)
        if turn < len(takers):
            result[index] = given
        else:
            result.append(given)
    return tuple(result)


def fit_areas(entries: Sequence[Entry], size: tuple[int, int]) -> tuple[Entry, ...]:
    """Areas cut off at the lower and right edges of the latent; one that covers it all is none.

    Raises RunError for one that lies outside."""
    fitted = []
    for entry in entries:
        if entry.area is not None:
            a = entry.area
            area = Area(min(a.height, size[0] - a.y), min(a.width, size[1] - a.x), a.y, a.x)
            if area.height < 1 or area.width < 1 or area.y < 0 or area.x < 0:
                raise RunError("a conditioning's area lies outside the latent", got=f"{a} on {size[0]}x{size[1]}")
            entry = replace(entry, area=None if area == Area(*size, 0, 0) else area)
        fitted.append(entry)
    return tuple(fitted)


def weight(entry: Entry, x: Tensor) -> Tensor:
    """How much the entry counts at each point of its area: (B, C, h, w) of the part of x that it covers."""
    size = (x.shape[-2], x.shape[-1])
    part = x if entry.area is None else entry.area.cut(x)
    if entry.mask is not None:
        mask = entry.mask.to(x.device) if entry.area is None else entry.area.cut(entry.mask).to(x.device)
        copies = -(-x.shape[0] // mask.shape[0])
        mask = mask.repeat(copies, 1, 1)[: x.shape[0]]
        return (mask * entry.strength).unsqueeze(1).expand(part.shape)
    mult = torch.full_like(part, entry.strength)
    if entry.area is not None:
        _feather(mult, entry.area, size)
    return mult


def _feather(mult: Tensor, area: Area, size: tuple[int, int]) -> None:
    """A linear fade over the edges that do not lie on the edge of the latent, in place."""
    for dim, offset, length, whole in ((2, area.y, area.height, size[0]), (3, area.x, area.width, size[1])):
        reach = min(FEATHER, length // 4)
        for step in range(reach):
            fade = (1.0 / reach) * (step + 1)
            if offset != 0:
                mult.narrow(dim, step, 1).mul_(fade)
            if offset + length < whole:
                mult.narrow(dim, length - 1 - step, 1).mul_(fade)
