"""What a picture shows: up to five shapes on a background. Drawn at random, as plain values.

A scene is made together with what its caption may say, so that words and picture never disagree.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from training.palette import BACKGROUNDS, OBJECT_COLOURS, clash

SIDE = 256  # pixels of a picture's edge
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
TEXTURES = ("plain", "striped", "dotted")
SIZES = ("small", "medium", "large")
RADII = {"small": (17, 24), "medium": (30, 40), "large": (54, 72)}
RELATIONS = ("left", "right", "above", "below")
MOST_OBJECTS = 5
HELD_OUT = 16  # one scene content in so many is never trained on
_GAP, _EDGE = 7, 5  # pixels between objects, and to the edge


@dataclass(frozen=True)
class Thing:
    """One shape. x, y, radius in pixels; smiling: it has a face."""

    shape: str
    colour: str
    size: str = "medium"
    texture: str = "plain"
    smiling: bool = False
    x: float = 0.0
    y: float = 0.0
    radius: float = 35.0


@dataclass(frozen=True)
class Scene:
    """kind: "one" (place says where), "many" (equal things), "pair" (relation of the first to the second), "groups"
    (two lots of equal things, counts), "list" (three different ones)."""

    kind: str
    things: tuple[Thing, ...]
    background: str
    pattern: str = "plain"
    place: str = ""
    relation: str = ""
    counts: tuple[int, ...] = ()

    @property
    def content(self) -> str:
        """What it shows, apart from where exactly: the key by which scenes are held out."""
        things = sorted(f"{t.colour} {t.shape}" for t in self.things)
        first = f"{self.things[0].colour} {self.things[0].shape}" if self.kind == "pair" else ""
        return "|".join([self.kind, self.background, self.relation or self.place, first, *things])

    @property
    def held_out(self) -> bool:
        return zlib.crc32(self.content.encode()) % HELD_OUT == 0


PLACES = {
    "middle": (0.5, 0.5), "left": (0.22, 0.5), "right": (0.78, 0.5), "top": (0.5, 0.22), "bottom": (0.5, 0.78),
    "top left": (0.2, 0.2), "top right": (0.8, 0.2), "bottom left": (0.2, 0.8), "bottom right": (0.8, 0.8),
}  # fmt: skip
_KINDS, _KIND_SHARES = ("one", "many", "pair", "groups", "list"), np.array([0.2, 0.27, 0.28, 0.15, 0.1])


def draw_scene(rng: np.random.Generator, held_out: bool = False, pairs: float = 0.0) -> Scene:
    """A random scene, of those that are held out or of those that are not. pairs: share of relations beyond usual."""
    while True:
        scene = place_scene(rng, _content(rng, "pair" if rng.random() < pairs else None))
        if scene is not None and scene.held_out == held_out:
            return scene


@cache
def _clashes(first: str, second: str) -> bool:
    return clash(first, second)


def _content(rng: np.random.Generator, kind: str | None = None) -> Scene:
    kind = kind or str(rng.choice(_KINDS, p=_KIND_SHARES))
    background = str(rng.choice(BACKGROUNDS))
    pattern = str(rng.choice(("plain", "striped", "dotted"), p=(0.7, 0.15, 0.15)))
    allowed = [c for c in OBJECT_COLOURS if not _clashes(c, background)]

    def thing(size: str | None = None) -> Thing:
        return Thing(
            str(rng.choice(SHAPES)), str(rng.choice(allowed)), size or str(rng.choice(SIZES, p=(0.25, 0.5, 0.25))),
            str(rng.choice(TEXTURES, p=(0.76, 0.12, 0.12))), bool(rng.random() < 0.12),
        )  # fmt: skip

    if kind == "one":
        place = str(rng.choice([*PLACES, ""]))
        return Scene(kind, (thing(),), background, pattern, place, counts=(1,))
    if kind == "many":
        count = int(rng.integers(2, MOST_OBJECTS + 1))
        size = None if count == 2 else str(rng.choice(("small", "medium"), p=(0.3, 0.7)))
        return Scene(kind, (thing(size),) * count, background, pattern, counts=(count,))
    if kind == "pair":
        first, second = thing(), thing()
        while (first.shape, first.colour) == (second.shape, second.colour):
            second = thing()
        return Scene(kind, (first, second), background, pattern, relation=str(rng.choice(RELATIONS)), counts=(1, 1))
    if kind == "groups":
        counts = [(1, 2), (2, 1), (1, 3), (3, 1), (2, 2), (2, 3), (3, 2), (1, 1)][int(rng.integers(8))]
        first, second = thing("medium"), thing("medium")
        while (first.shape, first.colour) == (second.shape, second.colour):
            second = thing("medium")
        return Scene(kind, (first,) * counts[0] + (second,) * counts[1], background, pattern, counts=counts)
    things = tuple(thing(str(rng.choice(("small", "medium")))) for _ in range(3))
    if len({(t.shape, t.colour) for t in things}) < 3:
        return _content(rng)
    return Scene(kind, things, background, pattern, counts=(1, 1, 1))


def place_scene(rng: np.random.Generator, scene: Scene) -> Scene | None:
    """The scene with positions and radii; None where no room was found."""
    shared = {size: float(rng.uniform(*RADII[size])) for size in SIZES}
    equal = scene.kind in ("many", "groups")
    placed: list[Thing] = []
    for index, thing in enumerate(scene.things):
        radius = shared[thing.size] if equal else float(rng.uniform(*RADII[thing.size]))
        for _ in range(40):
            x, y = _spot(rng, scene, radius, index)
            if all((x - t.x) ** 2 + (y - t.y) ** 2 > (radius + t.radius + _GAP) ** 2 for t in placed) and _relates(
                scene, placed, x, y
            ):
                placed.append(replace(thing, x=x, y=y, radius=radius))
                break
        else:
            return None
    return replace(scene, things=tuple(placed))


def _spot(rng: np.random.Generator, scene: Scene, radius: float, index: int) -> tuple[float, float]:
    low, high = radius + _EDGE, SIDE - radius - _EDGE
    if scene.place:
        u, v = PLACES[scene.place]
        x, y = u * SIDE + rng.normal(0, 5), v * SIDE + rng.normal(0, 5)
        return float(np.clip(x, low, high)), float(np.clip(y, low, high))
    return float(rng.uniform(low, high)), float(rng.uniform(low, high))


def _relates(scene: Scene, placed: list[Thing], x: float, y: float) -> bool:
    """Whether a second thing at x, y makes the relation plain: further apart along its axis than across."""
    if not scene.relation or not placed:
        return True
    dx, dy = placed[0].x - x, placed[0].y - y
    along, across = (dx, dy) if scene.relation in ("left", "right") else (dy, dx)
    if scene.relation in ("left", "above"):
        along = -along
    return along > 40 and along > 1.2 * abs(across)
