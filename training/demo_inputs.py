"""Draws the input pictures of `comfyc demo`: a scribble, a picture with a hole, and contours.

usage: python -m training.demo_inputs [--out comfyc/demo_model/inputs]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from comfyc.demonstration import INPUTS
from training.palette import COLOURS
from training.render import Renderer, encode
from training.scenes import SIDE, Scene, Thing


def contours() -> Image.Image:
    """Five stars on an arc, as no caption would place them: a ControlNet's hint."""
    angles = np.linspace(math.pi, 0, 5)
    things = [Thing("star", "white", x=128 + 88 * math.cos(a), y=150 - 88 * math.sin(a), radius=30) for a in angles]
    scene = Scene("many", tuple(things), "blue")
    edges = Renderer(torch.device("cpu")).edges(torch.from_numpy(encode([scene]).things))[0, 0].numpy()
    return Image.fromarray((edges * 255).astype(np.uint8))


def hole() -> Image.Image:
    """A star on the left; the right half is transparent, which LoadImage gives as a mask."""
    scene = Scene("one", (Thing("star", "yellow", x=74, y=128, radius=44),), "blue")
    pixels = Renderer(torch.device("cpu"))(encode([scene]))[0].permute(1, 2, 0).numpy()
    alpha = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    alpha[:, SIDE // 2 :] = 0
    return Image.fromarray(np.dstack([(pixels * 255).round().astype(np.uint8), alpha]))


def scribble() -> Image.Image:
    """Two patches of colour, to start image to image from."""
    picture = Image.new("RGB", (SIDE, SIDE), COLOURS["green"])
    draw = ImageDraw.Draw(picture)
    for centre, size, colour in (((78, 130), 46, "purple"), ((190, 120), 36, "yellow")):
        draw.line(_loops(centre, size), fill=COLOURS[colour], width=9, joint="curve")
    return picture


def _loops(centre: tuple[float, float], size: float) -> Sequence[tuple[float, float]]:
    """A pen going back and forth."""
    turns = np.linspace(0, 14, 70)
    x = centre[0] + 0.95 * size * np.sin(2.9 * turns) * np.cos(0.23 * turns)
    y = centre[1] + 0.9 * size * np.cos(2.9 * turns + 0.5)
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the input pictures of the demo.")
    parser.add_argument("--out", type=Path, default=INPUTS)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, picture in (("contours", contours()), ("hole", hole()), ("sketch", scribble())):
        picture.save(args.out / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
