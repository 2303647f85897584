"""A model file described by its tensors: key, shape and how the values are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Draw:
    """How one tensor is drawn: near-normal of this scale around offset; scale None counts 0, 1, 2 ...; 0 is constant.

    carries: "in", "skip" or "out" where the tensor also passes a U-Net's input on (make_ckpt.carry_input_through).
    """

    shape: tuple[int, ...]
    scale: float | None
    offset: float = 0.0
    dtype: str = "F16"
    carries: str = ""


@dataclass
class Layout:
    """The tensors of one file by key."""

    tensors: dict[str, Draw] = field(default_factory=dict)

    def weight(self, key: str, shape: tuple[int, ...], gain: float = 1.0, fan: float | None = None) -> None:
        self.tensors[key] = Draw(shape, gain / math.sqrt(fan or int(np.prod(shape[1:]))))

    def bias(self, key: str, n: int, offset: float = 0.0) -> None:
        self.tensors[key] = Draw((n,), 0.02, offset)

    def norm(self, prefix: str, n: int) -> None:
        self.tensors[prefix + ".weight"] = Draw((n,), 0.1, 1.0)
        self.tensors[prefix + ".bias"] = Draw((n,), 0.05)

    def linear(self, prefix: str, n_in: int, n_out: int, gain: float = 1.0, bias: bool = True) -> None:
        self.weight(prefix + ".weight", (n_out, n_in), gain)
        if bias:
            self.bias(prefix + ".bias", n_out)

    def conv(
        self, prefix: str, n_in: int, n_out: int, kernel: int = 3, gain: float = 1.0, bias: bool = True,
        offset: float = 0.0,
    ) -> None:  # fmt: skip
        self.weight(prefix + ".weight", (n_out, n_in, kernel, kernel), gain)
        if bias:
            self.bias(prefix + ".bias", n_out, offset)

    def constant(self, key: str, value: float) -> None:
        self.tensors[key] = Draw((), 0.0, value)

    def carry(self, key: str, role: str) -> None:
        """Marks a tensor that is there already."""
        self.tensors[key] = replace(self.tensors[key], carries=role)
