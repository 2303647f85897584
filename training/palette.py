"""The colours that scenes are drawn in, and their words.

A textured surface alternates a colour with its `tone`: near enough to be called the same, far enough to be seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (220, 50, 47),
    "orange": (243, 146, 40),
    "yellow": (250, 218, 70),
    "green": (60, 160, 70),
    "blue": (45, 105, 215),
    "purple": (132, 72, 180),
    "pink": (246, 150, 190),
    "white": (250, 250, 248),
    "black": (28, 28, 32),
    "grey": (150, 155, 160),
}
NAMES = tuple(COLOURS)
OBJECT_COLOURS = NAMES[:9]
BACKGROUNDS = NAMES
# Shares of a colour and of the pole (white or black) it moves towards.
_TEXTURE_STEP, _BACKGROUND_STEP = 0.28, 0.12


def tone(rgb: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """rgb: (..., 3) in [0, 1]. Bright colours get darker, dark ones lighter."""
    bright = rgb.mean(axis=-1, keepdims=True) > 0.3
    moved: NDArray[np.float32] = np.where(bright, rgb * (1 - step), rgb + (1 - rgb) * step).astype(np.float32)
    return moved


def table() -> NDArray[np.float32]:
    """(colours, 3 tones, 3) in [0, 1]: the colour, its tone as an object's texture, its tone as a background's."""
    base = np.array(list(COLOURS.values()), dtype=np.float32) / np.float32(255)
    return np.stack([base, tone(base, _TEXTURE_STEP), tone(base, _BACKGROUND_STEP)], axis=1)


def pastel(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """The palette of the second checkpoint: the same names, half way to a warm white."""
    warm = np.array([1.0, 0.97, 0.92], dtype=np.float32)
    return (colours * np.float32(0.5) + warm * np.float32(0.5)).astype(np.float32)


def clash(first: str, second: str) -> bool:
    """Whether two colours are too alike, in any tone, to tell an object from what is behind it."""
    tones = table()
    a, b = tones[NAMES.index(first)], tones[NAMES.index(second)]
    return bool(np.abs(a[:, None] - b[None]).max(axis=-1).min() < 0.16)
