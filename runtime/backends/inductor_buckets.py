"""The exact sizes that an Inductor engine holds programs for, and how other numbers of rows are served by them.

Rows (pictures of a batch, timesteps) do not meet each other in these networks: fewer are padded, more are split, and
the values stay the same. Heights, widths and text lengths must be met exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from graphs.dims import Dim
from graphs.errors import BuildError
from runtime.backends.backend import TensorSpec

ROWS = frozenset({"batch", "steps"})
MOST = 16  # programs of one engine: each takes half a minute to two minutes to compile


def buckets(inputs: Sequence[TensorSpec], profile: Mapping[str, tuple[int, int, int]]) -> tuple[dict[str, int], ...]:
    """Every combination of sizes, the usual one first. Raises BuildError where they are too many.

    Rows: the usual number, and the largest where a row is a picture. Text: the usual length. Sides: the smallest, the
    usual and the largest."""
    names = sorted({d.name for s in inputs for d in s.shape if isinstance(d, Dim)})
    pictures = "height" in names
    choices = []
    for name in names:
        low, usual, high = profile[name]
        if name in ROWS:
            sizes = [usual, high] if pictures else [usual]
        else:
            sizes = [usual] if name == "text" else [usual, low, high]
        choices.append(tuple(dict.fromkeys(sizes)))
    found = tuple(dict(zip(names, sizes, strict=True)) for sizes in itertools.product(*choices))
    if len(found) > MOST:
        raise BuildError(
            f"inductor compiles for exact sizes, and this profile asks for {len(found)} combinations of them",
            expected=f"at most {MOST}", hint="name the sizes: --size 512x512 --batch 1",
        )  # fmt: skip
    return found


def row_blocks(rows: int, held: Sequence[int]) -> list[tuple[int, int]]:
    """(rows, rows of the program) of each call that together serve `rows`. held: rows that programs exist for."""
    largest = max(held)
    blocks = [(largest, largest)] * (rows // largest)
    if rest := rows % largest:
        blocks.append((rest, min(n for n in held if n >= rest)))
    return blocks
