"""Draws batches of scenes on any device, anti-aliased.

Each shape is a table of signed distances (negative inside), made once from its outline and looked up per pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.palette import NAMES, table
from training.scenes import MOST_OBJECTS, SHAPES, SIDE, TEXTURES, Scene

_CELLS, _REACH = 192, 1.5  # of the distance table: cells an edge, and its half edge in radii
FIELDS = 8  # numbers that describe a thing: shape, colour, texture, smile, x, y, radius, present
LINE = 6.0  # width in pixels of an outline


@dataclass(frozen=True)
class Batch:
    """things: (B, MOST_OBJECTS, FIELDS); ground: (B, 2): colour and pattern. Plain numbers, to travel cheaply."""

    things: NDArray[np.float32]
    ground: NDArray[np.int64]

    def part(self, start: int, count: int) -> Batch:
        return Batch(self.things[start : start + count], self.ground[start : start + count])


def encode(scenes: Sequence[Scene]) -> Batch:
    things = np.zeros((len(scenes), MOST_OBJECTS, FIELDS), dtype=np.float32)
    ground = np.zeros((len(scenes), 2), dtype=np.int64)
    for row, scene in enumerate(scenes):
        ground[row] = NAMES.index(scene.background), TEXTURES.index(scene.pattern)
        for i, t in enumerate(scene.things):
            things[row, i] = (
                SHAPES.index(t.shape), NAMES.index(t.colour), TEXTURES.index(t.texture), t.smiling, t.x, t.y, t.radius,
                1,
            )  # fmt: skip
    return Batch(things, ground)


def outline(shape: str) -> NDArray[np.float64]:
    """The corner points of a shape of radius 1 around the origin, y downwards: (N, 2)."""
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    if shape == "circle":
        return np.stack([np.cos(turn), np.sin(turn)], axis=1)
    if shape == "square":
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.86
    if shape == "triangle":
        return np.array([(0, -1), (1, 0.82), (-1, 0.82)]) * 1.0
    if shape == "star":
        angles = -np.pi / 2 + np.arange(10) * np.pi / 5
        lengths = np.where(np.arange(10) % 2 == 0, 1.08, 0.46)[:, None]
        star: NDArray[np.float64] = np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths
        return star
    if shape == "heart":
        x = 16 * np.sin(turn) ** 3
        y = -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn))
        heart: NDArray[np.float64] = np.stack([x, y], axis=1) / 16.5 + np.array([0, -0.12])
        return heart
    a, b = 0.34, 1.0
    return np.array([(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a),
                     (-a, -a)])  # fmt: skip


def distances(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """(_CELLS, _CELLS) signed distance to a closed polygon over [-_REACH, _REACH]²."""
    axis = (np.arange(_CELLS) + 0.5) / _CELLS * 2 * _REACH - _REACH
    grid = np.stack(np.meshgrid(axis, axis, indexing="xy"), axis=-1)[:, :, None]
    start, end = points, np.roll(points, -1, axis=0)
    edge, to = end - start, grid - start
    share = np.clip((to * edge).sum(-1) / (edge**2).sum(-1), 0, 1)
    away = np.sqrt(((to - share[..., None] * edge) ** 2).sum(-1)).min(-1)
    crosses = (start[:, 1] > grid[..., 1]) != (end[:, 1] > grid[..., 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        at = start[:, 0] + (grid[..., 1] - start[:, 1]) * edge[:, 0] / edge[:, 1]
    inside = (crosses & (grid[..., 0] < at)).sum(-1) % 2 == 1
    signed: NDArray[np.float32] = np.where(inside, -away, away).astype(np.float32)
    return signed


class Renderer:
    """outlines: shapes are drawn as lines; colours: (colours, 3 tones, 3) in [0, 1]."""

    def __init__(self, device: torch.device, *, outlines: bool = False, colours: NDArray[np.float32] | None = None,
                 side: int = SIDE) -> None:  # fmt: skip
        self.atlas = torch.from_numpy(np.stack([distances(outline(s)) for s in SHAPES])).to(device)[:, None]
        self.colours = torch.from_numpy(table() if colours is None else colours).to(device)
        self.outlines, self.device = outlines, device
        axis = (torch.arange(side, device=device) + 0.5) * (SIDE / side)
        self.x, self.y = axis[None, None, :], axis[None, :, None]
        self.scale = side / SIDE

    def __call__(self, batch: Batch) -> Tensor:
        """(B, 3, side, side) float32 in [0, 1]."""
        things = torch.from_numpy(batch.things).to(self.device)
        ground = torch.from_numpy(batch.ground).to(self.device)
        shades = self.colours[ground[:, 0]][:, (0, 2)]
        picture = self._surface(shades, ground[:, 1], self.x, self.y, 32.0)
        for i in range(MOST_OBJECTS):
            picture = self._add(picture, things[:, i])
        return picture

    def _surface(self, shades: Tensor, texture: Tensor, x: Tensor, y: Tensor, period: float) -> Tensor:
        """shades: (B, 2, 3); texture: (B,). Stripes run across, dots stand on a grid; edges are smoothed."""
        soft = 0.75
        stripes = ((y / period) % 1 - 0.5).abs() * period - period / 4
        dx, dy = ((x / period) % 1 - 0.5) * period, ((y / period) % 1 - 0.5) * period
        dots = (dx**2 + dy**2).sqrt() - period * 0.3
        kind = texture[:, None, None]
        far = torch.where(kind == 1, stripes, torch.where(kind == 2, dots, torch.full_like(dots, 9.0)))
        share = (0.5 - far * soft).clamp(0, 1)[:, None]
        return shades[:, 0, :, None, None] * (1 - share) + shades[:, 1, :, None, None] * share

    def distance(self, thing: Tensor) -> Tensor:
        """thing: (B, FIELDS) -> signed distance in pixels of a 256 picture, (B, side, side)."""
        x, y, radius = thing[:, 4, None, None], thing[:, 5, None, None], _radius(thing)
        u, v = (self.x - x) / radius / _REACH, (self.y - y) / radius / _REACH
        grid = torch.stack([u.expand_as(u + v), v.expand_as(u + v)], dim=-1)
        tables = self.atlas[thing[:, 0].long()]
        found = F.grid_sample(tables, grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
        beyond = torch.maximum(u.abs(), v.abs()) > 1
        return torch.where(beyond, torch.full_like(found, 1.0), found) * radius

    def coverage(self, thing: Tensor) -> Tensor:
        """(B, side, side) in [0, 1]: how much of each pixel the thing covers."""
        far = self.distance(thing)
        if self.outlines:
            far = (far + LINE / 2).abs() - LINE / 2
        return (0.5 - far * self.scale).clamp(0, 1) * thing[:, 7, None, None]

    def edges(self, things: Tensor) -> Tensor:
        """things: (B, MOST_OBJECTS, FIELDS) -> (B, 3, side, side): white contours on black, a ControlNet's hint."""
        lines = [
            (1.8 - self.distance(things[:, i]).abs() * self.scale).clamp(0, 1) * things[:, i, 7, None, None]
            for i in range(MOST_OBJECTS)
        ]
        return torch.stack(lines).amax(dim=0)[:, None].expand(-1, 3, -1, -1)

    def _add(self, picture: Tensor, thing: Tensor) -> Tensor:
        cover = self.coverage(thing)[:, None]
        x, y = self.x - thing[:, 4, None, None], self.y - thing[:, 5, None, None]
        shades = self.colours[thing[:, 1].long()][:, :2]
        surface = self._surface(shades, thing[:, 2].long() * (0 if self.outlines else 1), x, y, 16.0)
        surface = self._face(surface, thing, x, y)
        return picture * (1 - cover) + surface * cover

    def _face(self, surface: Tensor, thing: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Two eyes and a smile, dark on bright shapes and bright on black ones."""
        radius = _radius(thing)
        u, v = x / radius, y / radius - 0.08
        eyes = ((u.abs() - 0.24) ** 2 + ((v + 0.14) / 1.3) ** 2).sqrt() - 0.085
        smile = torch.where(v > 0.06, ((u**2 + (v - 0.06) ** 2).sqrt() - 0.26).abs() - 0.05, torch.full_like(u, 1.0))
        far = torch.minimum(eyes, smile) * radius
        share = ((0.5 - far * self.scale).clamp(0, 1) * thing[:, 3, None, None])[:, None]
        dark = self.colours[NAMES.index("black"), 0]
        ink = torch.where((thing[:, 1].long() == NAMES.index("black"))[:, None], torch.ones_like(dark), dark)
        return surface * (1 - share) + ink[:, :, None, None] * share


def _radius(thing: Tensor) -> Tensor:
    """(B, 1, 1); absent things have none, and must not divide by it."""
    return thing[:, 6, None, None].clamp_min(1.0)
