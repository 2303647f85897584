"""How ops call engines: one output, and what must outlive the next call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphs.errors import RunError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from runtime.backends.backend import Module
    from runtime.context import OpContext


def single(outputs: Mapping[str, Tensor], role: str) -> Tensor:
    if len(outputs) != 1:
        raise RunError(f"the {role} engine gives {len(outputs)} outputs", expected="one", got=", ".join(outputs))
    return next(iter(outputs.values()))


def time_rows(module: Module, timesteps: Tensor, device: torch.device) -> Tensor:
    """timesteps: (n,) -> (n, E): a copy, since an engine may hand out the same buffer at its next call."""
    return single(module({"timesteps": timesteps.float().to(device)}), "time").clone()


@dataclass(frozen=True, eq=False)
class TimeTable:
    """The time embeddings of a network by timestep. rows: (E,) each, grown on demand by the network in `role`."""

    context: OpContext
    role: str
    rows: dict[int, Tensor] = field(default_factory=dict)

    def batch(self, timestep: Tensor, count: int, device: torch.device) -> Tensor:
        """(count, E), all alike. timestep: 0-dim on the host."""
        key = int(timestep)
        if key not in self.rows:
            self.rows[key] = time_rows(self.context.module(self.role), timestep.reshape(1), device)[0]
        return self.rows[key].expand(count, -1).contiguous()
