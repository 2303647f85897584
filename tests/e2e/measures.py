"""What the demo model's pictures must show, as numbers. Each measure is one function, so that the tests which hold it
against the model and those which hold it against broken code (test_demo_mutations) measure the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tests.e2e.studio import SIDE, Picture
from training.palette import NAMES, pastel, table
from training.render import Renderer, encode
from training.scenes import Scene, Thing
from training.score import Found, Score, compare, read

Draw = Callable[[str, int], Picture]  # text, seed
_NEAR = 16.0  # pixels between where a thing should be and where it is
_SAME = 0.12  # difference of a channel up to which a pixel has a colour


@dataclass(frozen=True)
class Caption:
    text: str
    scene: Scene


def _many(text: str, count: int, colour: str, shape: str, ground: str) -> Caption:
    return Caption(text, Scene("many", (Thing(shape, colour),) * count, ground, counts=(count,)))


def _pair(text: str, first: tuple[str, str], relation: str, second: tuple[str, str], ground: str) -> Caption:
    things = tuple(Thing(shape, colour) for colour, shape in (first, second))
    return Caption(text, Scene("pair", things, ground, relation=relation, counts=(1, 1)))


RED_CIRCLES = _many("two red circles on a blue background", 2, "red", "circle", "blue")
CAPTIONS = (
    RED_CIRCLES,
    _many("a green triangle on white", 1, "green", "triangle", "white"),
    _many("three yellow stars on a black background", 3, "yellow", "star", "black"),
    _many("four pink hearts on a grey background", 4, "pink", "heart", "grey"),
    _pair("a red square to the left of a blue circle on a yellow background",
          ("red", "square"), "left", ("blue", "circle"), "yellow"),
    _pair("a red square to the right of a blue circle on a yellow background",
          ("red", "square"), "right", ("blue", "circle"), "yellow"),
    _pair("a white cross above a black heart on a green background",
          ("white", "cross"), "above", ("black", "heart"), "green"),
    _pair("a purple circle and an orange star on white", ("purple", "circle"), "", ("orange", "star"), "white"),
)  # fmt: skip


_WORDS = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
RELATIONS = tuple(
    _pair(f"a {a[0]} {a[1]} {words} a {b[0]} {b[1]} on a {ground} background", a, relation, b, ground)
    for a, b, ground in (
        (("yellow", "star"), ("white", "circle"), "black"),
        (("green", "triangle"), ("purple", "heart"), "grey"),
        (("red", "circle"), ("blue", "square"), "white"),
    )
    for relation, words in _WORDS.items()
)


def scores(draw: Draw, captions: Sequence[Caption], seeds: Sequence[int]) -> list[Score]:
    return [compare(c.scene, read(draw(c.text, seed))) for c in captions for seed in seeds]


def exact(score: Score) -> bool:
    """Whether the picture shows all that was asked for, and nothing else."""
    things = score.colours == score.shapes == score.asked and score.count
    return things and score.background and score.relation is not False


def share_exact(draw: Draw, caption: Caption, seeds: Sequence[int]) -> float:
    """Of the seeds, those whose picture shows exactly what the caption says."""
    return float(np.mean([exact(score) for score in scores(draw, (caption,), seeds)]))


def fill(picture: Picture) -> float:
    """How much of the inside of the shapes has not the background's colour: 1 for solid ones, 0 for outlines."""
    reading = read(picture)
    ground = table()[NAMES.index(reading.background), 0]
    apart = [np.abs(_inside(picture, found) - ground).max(axis=-1) > _SAME for found in reading.objects]
    return float(np.mean([part.mean() for part in apart])) if apart else float("nan")


def _inside(picture: Picture, found: Found) -> Picture:
    """(N, 3): the pixels of a disc about the middle of a shape, well within it."""
    y, x = np.mgrid[:SIDE, :SIDE]
    radius = 0.22 * (found.area / np.pi) ** 0.5
    pixels: Picture = picture[(x - found.x) ** 2 + (y - found.y) ** 2 < radius**2]
    return pixels


def palette_error(picture: Picture, *, soft: bool) -> float:
    """The mean distance of a picture's pixels from the nearest colour of the pastel palette, or of the usual one."""
    colours = (pastel(table()) if soft else table()).reshape(-1, 3)
    return float(np.abs(picture.reshape(-1, 1, 3) - colours).max(axis=-1).min(axis=-1).mean())


def share_in_place(scene: Scene, picture: Picture) -> float:
    """Of a scene's things, those that stand in the picture where the scene has them, whatever their shape."""
    found = read(picture).objects
    near = [any((t.x - f.x) ** 2 + (t.y - f.y) ** 2 < _NEAR**2 for f in found) for t in scene.things]
    return float(np.mean(near))


def starry(picture: Picture) -> bool:
    """Three to five small yellow things with points on black, and nothing else. So small, the model's stars are soft,
    and `read` takes some for circles; but their tips reach further than a circle of their area would."""
    reading = read(picture)
    small = [f.colour == "yellow" and f.area < 1500 for f in reading.objects]
    others = sum(f.shape in ("square", "triangle", "heart") for f in reading.objects)
    if reading.background != "black" or not 3 <= len(small) <= 5 or not all(small) or 2 * others >= len(small):
        return False
    black, yellow = (table()[NAMES.index(name), 0] for name in ("black", "yellow"))
    nearer = np.abs(picture - yellow).sum(axis=-1) < np.abs(picture - black).sum(axis=-1)
    return float(np.mean([_reach(nearer, found) for found in reading.objects])) > 1.12


def _reach(mask: NDArray[np.bool_], found: Found) -> float:
    """How far the region about a found thing reaches, by the radius of a circle of its area: about 1.03 for circles."""
    y, x = np.mgrid[:SIDE, :SIDE]
    away = np.hypot(x - found.x, y - found.y)
    own = mask & (away < 2 * (found.area / np.pi) ** 0.5)
    away = np.hypot(x - x[own].mean(), y - y[own].mean())
    return float(away[own].max() / (own.sum() / np.pi) ** 0.5)


def rendered(scene: Scene) -> Picture:
    """The scene as training draws it."""
    picture: Picture = Renderer(torch.device("cpu"))(encode([scene]))[0].permute(1, 2, 0).numpy()
    return picture


def contours(scene: Scene) -> Picture:
    """White lines on black: a ControlNet's hint."""
    things = torch.from_numpy(encode([scene]).things)
    lines: Picture = Renderer(torch.device("cpu")).edges(things)[0].permute(1, 2, 0).numpy()
    return lines
