"""Measures a picture: which shapes in which colours stand where, and on what. No network, and no look at the caption.

1. The background is the palette colour that most of the border is nearest to.
2. What differs from the background's tones by more than half a step is an object; small specks are dropped.
3. An object's colour is the palette colour nearest to its median; its shape is the template that overlaps it most.
Only then `compare` sets what was found against what a caption asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from training.palette import NAMES, table
from training.render import distances, outline
from training.scenes import SHAPES, Scene

_TEMPLATE = 48  # pixels of an edge
_LEAST_AREA = 220  # of 256x256 pixels
_APART = 0.11  # difference from the background, the largest over the channels, that counts


@dataclass(frozen=True)
class Found:
    """x, y: the centre; area in pixels."""

    shape: str
    colour: str
    x: float
    y: float
    area: int


@dataclass(frozen=True)
class Reading:
    background: str
    objects: tuple[Found, ...]


def read(picture: NDArray[np.float32], colours: NDArray[np.float32] | None = None) -> Reading:
    """picture: (256, 256, 3) in [0, 1]. colours: (colours, 3 tones, 3), the base palette unless given."""
    tones = table() if colours is None else colours
    border = np.concatenate([picture[:4].reshape(-1, 3), picture[-4:].reshape(-1, 3),
                             picture[:, :4].reshape(-1, 3), picture[:, -4:].reshape(-1, 3)])  # fmt: skip
    ground = int(np.bincount(_nearest(border, tones[:, (0, 2)]), minlength=len(tones)).argmax())
    behind = tones[ground][[0, 2]]
    path = behind[0] + np.linspace(0, 1, 5)[:, None] * (behind[1] - behind[0])  # dots and stripes have soft edges
    apart = np.abs(picture[:, :, None] - path).max(axis=-1).min(axis=-1) > _APART
    mask = ndimage.binary_opening(apart, iterations=1)
    labels, count = ndimage.label(ndimage.binary_fill_holes(mask))
    objects = []
    for number in range(1, count + 1):
        region = labels == number
        area = int(region.sum())
        if area < _LEAST_AREA:
            continue
        y, x = (float(c) for c in ndimage.center_of_mass(region))
        core = ndimage.binary_erosion(region, iterations=2) & apart
        pixels = picture[core if core.sum() > 40 else region]
        votes = np.bincount(_nearest(pixels, tones[:, :2]), minlength=len(tones))
        objects.append(Found(_shape(region), NAMES[int(votes.argmax())], x, y, area))
    return Reading(NAMES[ground], tuple(objects))


def _nearest(pixels: NDArray[np.float32], tones: NDArray[np.float32]) -> NDArray[np.int64]:
    """pixels: (N, 3), tones: (colours, K, 3) -> (N,) index of the colour with the nearest tone."""
    flat = tones.reshape(-1, 3)
    far = ((pixels[:, None] - flat[None]) ** 2 * np.array([0.3, 0.5, 0.2])).sum(-1)
    nearest: NDArray[np.int64] = far.argmin(axis=1) // tones.shape[1]
    return nearest


@cache
def _templates() -> NDArray[np.bool_]:
    return np.stack([_square(distances(outline(shape)) < 0) for shape in SHAPES])


def _square(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask's bounding box, centred in a square and resized to the template's size."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(box.shape)
    top, left = (side - box.shape[0]) // 2, (side - box.shape[1]) // 2
    padded = np.zeros((side, side), dtype=np.float32)
    padded[top : top + box.shape[0], left : left + box.shape[1]] = box
    at = (np.arange(_TEMPLATE) + 0.5) / _TEMPLATE * side - 0.5
    grid = np.meshgrid(at, at, indexing="ij")
    resized: NDArray[np.bool_] = ndimage.map_coordinates(padded, grid, order=1, mode="nearest") > 0.5
    return resized


def _shape(region: NDArray[np.bool_]) -> str:
    mask = _square(region)
    both = (mask & _templates()).sum((1, 2))
    either = (mask | _templates()).sum((1, 2))
    return SHAPES[int((both / either).argmax())]


@dataclass(frozen=True)
class Score:
    """Of one picture: objects asked for, and how many of them have their colour, their shape; whether the number of
    objects is right, the relation holds (None: none was asked for), the background is right.

    relation: the centres compare as asked, by 10 pixels at least, as Gokhale et al. 2022 (VISOR, arXiv 2212.10015) have
    it; plainly: they are also further apart that way than across it, as in the pictures trained on."""

    asked: int
    colours: int
    shapes: int
    count: bool
    relation: bool | None
    plainly: bool | None
    background: bool


def compare(scene: Scene, reading: Reading) -> Score:
    """Matches what was found with what was asked so that most agrees."""
    asked, found = scene.things, reading.objects
    agree = np.zeros((len(asked), max(len(found), 1)))
    for i, thing in enumerate(asked):
        for j, other in enumerate(found):
            agree[i, j] = 1 + (thing.colour == other.colour) + (thing.shape == other.shape)
    pairs = list(zip(*linear_sum_assignment(-agree), strict=True)) if found else []
    colours = sum(asked[i].colour == found[j].colour for i, j in pairs)
    shapes = sum(asked[i].shape == found[j].shape for i, j in pairs)
    relation, plainly = None, None
    if scene.relation:
        where = {int(i): found[j] for i, j in pairs}
        relation, plainly = _holds(scene.relation, where[0], where[1]) if len(where) == 2 else (False, False)
    right = reading.background == scene.background
    return Score(len(asked), colours, shapes, len(found) == len(asked), relation, plainly, right)


def _holds(relation: str, first: Found, second: Found) -> tuple[bool, bool]:
    dx, dy = first.x - second.x, first.y - second.y
    along = {"left": -dx, "right": dx, "above": -dy, "below": dy}[relation]
    across = abs(dy) if relation in ("left", "right") else abs(dx)
    return along > 10, along > max(10.0, across)


def totals(scores: Sequence[Score]) -> dict[str, float]:
    """Shares in percent over all pictures; relations only where one was asked for."""
    asked = sum(s.asked for s in scores)
    reached = {
        "colours": 100 * sum(s.colours for s in scores) / asked,
        "shapes": 100 * sum(s.shapes for s in scores) / asked,
        "counts": 100 * sum(s.count for s in scores) / len(scores),
        "backgrounds": 100 * sum(s.background for s in scores) / len(scores),
    }
    if pairs := [s for s in scores if s.relation is not None]:
        reached["relations"] = 100 * sum(bool(s.relation) for s in pairs) / len(pairs)
        reached["plain relations"] = 100 * sum(bool(s.plainly) for s in pairs) / len(pairs)
    return reached
