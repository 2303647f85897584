"""Sizes of tensors, fixed or following a dynamic one: parsed, printed and computed here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd

_TEXT = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:\*(?P<times>[1-9]\d*))?(?:/(?P<over>[1-9]\d*))?")


@dataclass(frozen=True, slots=True)
class Dim:
    """ceil(n * times / over) for the dynamic size `name` of n, in lowest terms.

    Dim("height") is the latent's height, Dim("height", times=8) that of its picture, and Dim("height", over=4) the
    height halved twice, rounded up each time, as convolutions of stride 2 do (rounding up twice by 2 is once by 4).
    """

    name: str
    times: int = 1
    over: int = 1

    def __post_init__(self) -> None:
        common = gcd(self.times, self.over)
        object.__setattr__(self, "times", self.times // common)
        object.__setattr__(self, "over", self.over // common)

    def size(self, n: int) -> int:
        """The size where the dynamic size is n."""
        return -(-n * self.times // self.over)

    def solve(self, size: int) -> int | None:
        """The dynamic size that gives `size`; None where there is none, or more than one."""
        if self.over > self.times:
            return None  # several sizes round up to the same one
        n = size * self.over // self.times
        return n if self.size(n) == size else None

    def __str__(self) -> str:
        """Also the JSON form: "height", "height*8", "height/4", "height*3/2"."""
        times = f"*{self.times}" if self.times > 1 else ""
        over = f"/{self.over}" if self.over > 1 else ""
        return f"{self.name}{times}{over}"


Size = int | Dim


def size_of(size: Size, sizes: Mapping[str, int]) -> int:
    """The number behind a size. sizes: of the dynamic dimensions by name."""
    return size if isinstance(size, int) else size.size(sizes[size.name])


def size_to_json(size: Size) -> int | str:
    return size if isinstance(size, int) else str(size)


def size_from_json(value: int | str) -> Size:
    """Inverse of size_to_json. Raises ValueError for a text that names no dimension."""
    if isinstance(value, int):
        return value
    found = _TEXT.fullmatch(value)
    if found is None:
        raise ValueError(f"not a dimension: {value!r}")
    return Dim(found["name"], int(found["times"] or 1), int(found["over"] or 1))
