"""The entries of a conditioning at run time: where in the picture, when in the schedule, and how strongly each counts.

Options of an entry (attrs["positive"] and attrs["negative"] of a sample step, one mapping per entry):
  area                [h, w, y, x] in latent units, or ["percentage", h, w, y, x] as shares of the latent
  strength            weight of the entry where it overlaps with others, default 1
  start_percent, end_percent   the part of the schedule in which it counts, default 0 and 1
  mask                index into the step's masks of that side; mask_strength its factor, default 1
  set_area_to_bounds  evaluate only the bounding box of the mask
  controls            [index into the step's controls, whether the other side shares it] each, in order of application
The rules are ComfyUI's, as observed (areas, masks, feathering, twins).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate

from graphs.errors import RunError
from runtime.sampling.control import ControlSettings

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.control import Control
    from runtime.sampling.model_sampling import ModelSampling

Json = Any

OPTIONS = frozenset({"area", "strength", "start_percent", "end_percent", "mask", "mask_strength", "set_area_to_bounds",
                     "controls"})  # fmt: skip
FEATHER = 8  # latent units over which an inner edge of an area fades, at most a quarter of the area
SMALLEST_BOUNDS = 8  # latent units


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
    """One entry. cond: (1, T, K) what the network takes as text. mask: (B or 1, h, w), at latent size.

    It counts where low <= sigma <= high. controls: what ControlNets do to it. control_texts: its text as each of the
    step's ControlNets takes it, (1, T, K) by the control's index."""

    cond: Tensor
    area: Area | None = None
    strength: float = 1.0
    mask: Tensor | None = None
    high: float | None = None
    low: float | None = None
    controls: tuple[Control, ...] = ()
    control_texts: tuple[Tensor, ...] = ()

    def counts_at(self, sigma: float) -> bool:
        return (self.high is None or sigma <= self.high) and (self.low is None or sigma >= self.low)

    def controls_at(self, sigma: float) -> tuple[Control, ...]:
        return tuple(control for control in self.controls if control.acts_at(sigma))

    @property
    def plain(self) -> bool:
        """Whether it counts everywhere with weight 1."""
        return self.area is None and self.mask is None and self.strength == 1.0


def make_entries(
    conds: Sequence[Tensor],
    options: Sequence[Mapping[str, Json]],
    masks: Sequence[Tensor],
    size: tuple[int, int],
    model: ModelSampling,
    settings: ControlSettings | None = None,
    control_texts: Sequence[tuple[Tensor, ...]] = (),
) -> tuple[Entry, ...]:
    """Entries of one side. size: (h, w) of the latent. options, control_texts: empty, or one of each per cond.

    Raises RunError for options that this runtime does not know."""
    if options and len(options) != len(conds):
        raise RunError("conditioning options do not fit", expected=f"{len(conds)} of them", got=str(len(options)))
    entries = []
    for index, cond in enumerate(conds):
        option = options[index] if options else {}
        unknown = sorted(set(option) - OPTIONS)
        if unknown:
            raise RunError(f"unknown conditioning options {', '.join(unknown)}", expected=", ".join(sorted(OPTIONS)))
        mask = _mask(option, masks, size)
        area = _area(option["area"], size) if option.get("area") is not None else None
        if mask is not None and option.get("set_area_to_bounds"):
            area = _bounds(mask)
        start, end = option.get("start_percent"), option.get("end_percent")
        entries.append(
            Entry(
                cond,
                area,
                float(option.get("strength", 1.0)),
                None if mask is None else mask * float(option.get("mask_strength", 1.0)),
                None if start is None else model.percent_to_sigma(float(start)),
                None if end is None else model.percent_to_sigma(float(end)),
                (settings or ControlSettings()).controls(option.get("controls") or (), model),
                control_texts[index] if control_texts else (),
            )
        )
    return tuple(entries)


def _area(value: Sequence[Json], size: tuple[int, int]) -> Area:
    if value[0] == "percentage":
        h, w, y, x = (float(v) for v in value[1:])
        return Area(max(1, round(h * size[0])), max(1, round(w * size[1])), round(y * size[0]), round(x * size[1]))
    return Area(*(int(v) for v in value))


def _mask(option: Mapping[str, Json], masks: Sequence[Tensor], size: tuple[int, int]) -> Tensor | None:
    """(B or 1, h, w) at latent size: bilinear without antialias."""
    index = option.get("mask")
    if index is None:
        return None
    if not 0 <= index < len(masks):
        raise RunError("a conditioning names a mask that the step does not have", got=f"mask {index} of {len(masks)}")
    mask = masks[index].float()
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
            result.append(replace(other, cond=best.cond, control_texts=best.control_texts))
    return tuple(result)


def _size(area: Area) -> int:
    return area.height * area.width


def share_controls(positive: Sequence[Entry], negative: Sequence[Entry]) -> tuple[Entry, ...]:
    """The negative entries, with the controls of those positive ones whose last control is shared.

    Entries with an area neither give nor take. Nothing is shared where a negative entry has controls of its own. The
    entries without take turns; one that has had its turn is doubled."""
    givers = [e for e in positive if e.area is None and e.controls and e.controls[-1].shared]
    takers = [index for index, e in enumerate(negative) if e.area is None]
    result = list(negative)
    if not takers or any(negative[index].controls for index in takers):
        return tuple(result)
    for turn, giver in enumerate(givers):
        index = takers[turn % len(takers)]
        given = replace(result[index], controls=giver.controls)
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
