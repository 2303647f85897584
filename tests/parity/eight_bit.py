"""Values beside an 8-bit step: which side they fall on is decided by float32's last bits.

ComfyUI scales pictures with lanczos through 8 bits, truncating. A value of 204.99994 becomes 204, one of 205.0 becomes
205, and which of the two a decoder computes depends on the order of its additions. What comes behind (encode, sample)
turns that one step into more than the bound on latents. So a run that misses its bound is run again with single values
that lie within TOLERANCE of a step put on the other side: if that brings it within the bound, the truncation was all
that differed, and the report says which values it was. Nothing else is forgiven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.ops import resize
from tests.parity.cases import Case
from tests.parity.comparison import Distance

# Of an 8-bit step. Decoders of torch and onnxruntime, and torch with one and with two threads, differ by up to 1.4e-3.
TOLERANCE = 2e-3
ROUNDS = 2  # values put on the other side, at most
CANDIDATES = 64  # more of them near a step, and trying each would take too long: the case is off


@dataclass(frozen=True)
class Flip:
    """A value of one conversion to 8 bits. call: which conversion of the run; index: into its values; raw: 255 * x."""

    call: int
    index: int
    raw: float

    def __str__(self) -> str:
        return f"{self.raw:.5f}"


@dataclass
class Conversions:
    """What a run converted to 8 bits. near: values beside a step; values: how many there were in all."""

    near: list[Flip] = field(default_factory=list)
    values: int = 0
    calls: int = 0


@contextmanager
def observed(flips: tuple[Flip, ...] = ()) -> Iterator[Conversions]:
    """Runs within see every conversion, with the values of `flips` put on the other side of their step."""
    seen, convert = Conversions(), resize.eight_bit

    def observe(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        result = convert(values)
        flat = values.reshape(-1)
        for index in near_a_step(flat):
            seen.near.append(Flip(seen.calls, int(index), float(flat[index])))
        for flip in flips:
            if flip.call == seen.calls:
                result.flat[flip.index] = other_side(flat[flip.index])  # in any layout, where reshape may copy
        seen.values += values.size
        seen.calls += 1
        return result

    resize.eight_bit = observe
    try:
        yield seen
    finally:
        resize.eight_bit = convert


def near_a_step(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Indices of the values within TOLERANCE of a whole number; 0 and 255 are where pictures are cut, not steps."""
    wide = values.astype(np.float64)
    close = np.abs(wide - np.round(wide)) < TOLERANCE
    return np.flatnonzero(close & (wide > 0) & (wide < 255) & (np.round(wide) > 0)).astype(np.int64)


def other_side(value: float) -> int:
    """What truncation makes of a value just across the step: 205 of 204.9999, 204 of 205.0."""
    step = round(float(value))
    return step if value < step else step - 1


def explained(
    case: Case, as_run: Distance, again: Callable[[], Distance], near: list[Flip]
) -> tuple[Distance, tuple[Flip, ...]]:
    """The nearest distance with up to ROUNDS values on the other side, and which; the run as it was where none helps.

    again: runs the case once more and compares it.
    """
    nearest_first = sorted(near, key=lambda flip: abs(flip.raw - round(flip.raw)))
    best: Distance = as_run
    flips: tuple[Flip, ...] = ()
    for _ in range(ROUNDS if len(near) <= CANDIDATES else 0):
        tried = [(best, flips)]
        for flip in nearest_first:
            if flip not in flips:
                with observed((*flips, flip)):
                    tried.append((again(), (*flips, flip)))
                if tried[-1][0].within(case):
                    return tried[-1]
        best, flips = min(tried, key=lambda found: found[0].latent)
    return as_run, ()
