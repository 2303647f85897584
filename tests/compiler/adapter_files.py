"""LoRA files of every kind for weights of any shape, with random numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Draw:
    """Tensors of one seed. dtype: of the file."""

    generator: torch.Generator
    dtype: torch.dtype = torch.float16

    def __call__(self, *shape: int) -> Tensor:
        return (torch.randn(shape, generator=self.generator) * 0.3).to(self.dtype)


def kinds_for(shape: Shape) -> tuple[str, ...]:
    """Of a weight (out, in, ...), with at least 8 rows and columns, both even."""
    if len(shape) == 1:
        return ("diff_b",)
    common = ("lora", "loha", "lokr_whole", "lokr_halves", "oft", "diff", "set_weight", "dora_out", "dora_in")
    return (*common, "glora") if len(shape) == 2 else (*common, "mid", "loha_core", "lokr_core")


def adapter(kind: str, shape: Shape, rank: int, draw: Draw) -> Mapping[str, Tensor]:
    """Ending of the key -> tensor."""
    out, width, *kernel = shape if len(shape) > 1 else (*shape, 0)
    alpha = {"alpha": torch.tensor(rank / 3)}
    if kind == "lora" or kind.startswith("dora"):
        found = {"lora_up.weight": draw(out, rank, *(1 for _ in kernel)), **alpha}
        found["lora_down.weight"] = draw(rank, width, *kernel)
        if kind == "dora_out":
            found["dora_scale"] = draw(out, *(1 for _ in shape[1:])).abs() + 0.5
        if kind == "dora_in":
            found["dora_scale"] = draw(1, width, *(1 for _ in kernel)).abs() + 0.5
        return found
    if kind == "mid":
        up, mid, down = draw(out, rank, 1, 1), draw(rank, rank, *kernel), draw(rank, width, 1, 1)
        return {"lora_up.weight": up, "lora_mid.weight": mid, "lora_down.weight": down}
    if kind == "loha":
        flat = width * math.prod(kernel)
        halves = (("a", (out, rank)), ("b", (rank, flat)))
        return {f"hada_w{n}_{h}": draw(*s) for n in (1, 2) for h, s in halves} | alpha
    if kind == "loha_core":
        core = {f"hada_t{n}": draw(rank, rank, *kernel) for n in (1, 2)}
        halves = (("a", (rank, out)), ("b", (rank, width)))
        return core | {f"hada_w{n}_{h}": draw(*s) for n in (1, 2) for h, s in halves} | alpha
    if kind == "lokr_whole":
        return {"lokr_w1": draw(2, 2), "lokr_w2": draw(out // 2, width // 2, *kernel), **alpha}
    if kind == "lokr_halves":
        flat = width // 2 * math.prod(kernel)
        first = {"lokr_w1_a": draw(2, 1), "lokr_w1_b": draw(1, 2)}
        return first | {"lokr_w2_a": draw(out // 2, rank), "lokr_w2_b": draw(rank, flat), **alpha}
    if kind == "lokr_core":
        second = {"lokr_w2_a": draw(rank, out // 2), "lokr_w2_b": draw(rank, width // 2)}
        return second | {"lokr_w1": draw(2, 2), "lokr_t2": draw(rank, rank, *kernel), **alpha}
    if kind == "glora":
        names = {"a1": (width, rank), "a2": (rank, width), "b1": (out, rank), "b2": (rank, width)}
        return {f"{name}.weight": draw(*s) for name, s in names.items()}
    if kind == "oft":
        return {"oft_blocks": draw(2, out // 2, out // 2), "alpha": torch.tensor(0.5)}
    assert kind in ("diff", "diff_b", "set_weight")
    return {kind: draw(*shape)}
