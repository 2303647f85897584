"""How ops call engines: one output, and what must outlive the next call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from graphs.errors import RunError
from runtime.sampling.batching import Call

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.backends.backend import Module
    from runtime.sampling.batching import Calls
    from runtime.sampling.conditions import Text
    from runtime.sampling.rows import Rows


def single(outputs: Mapping[str, Tensor], role: str) -> Tensor:
    if len(outputs) != 1:
        raise RunError(f"the {role} engine gives {len(outputs)} outputs", expected="one", got=", ".join(outputs))
    return next(iter(outputs.values()))


def time_rows(module: Module, timesteps: Tensor, vector: Tensor | None, device: torch.device) -> Calls[Tensor]:
    """timesteps: (n,), vector: (1, V) -> (n, E): a copy, since an engine may hand out the same buffer at its next call.
    """
    inputs = {"timesteps": timesteps.float().to(device)}
    if vector is not None:
        inputs["vector"] = vector.to(device).expand(len(timesteps), -1).contiguous()
    return single((yield Call(module, inputs)), "time").clone()


@dataclass(frozen=True, eq=False)
class TimeTable:
    """The time embeddings of a network for one vector, by timestep. rows: (E,) each, grown on demand by the network.

    Timesteps are told apart exactly as float32 numbers: those of EDM and flow models are no whole numbers.
    """

    module: Callable[[], Module]
    vector: Tensor | None = None
    rows: dict[float, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, text: Text, module: Callable[[], Module], device: torch.device) -> TimeTable:
        """The table that a hoisted text carries."""
        assert text.times is not None
        timesteps, rows = text.times
        return cls(module, text.vector, dict(zip(timesteps.tolist(), rows.to(device), strict=True)))

    def row(self, timestep: Tensor, device: torch.device) -> Calls[Tensor]:
        """(E,). timestep: 0-dim on the host."""
        key = float(timestep)
        if key not in self.rows:
            rows = yield from time_rows(self.module(), timestep.reshape(1), self.vector, device)
            self.rows[key] = rows[0]
        return self.rows[key]


@dataclass(eq=False)
class TimeTables:
    """The tables of all texts that one network sees: texts with the same times and vector share one."""

    module: Callable[[], Module]
    device: torch.device
    _tables: dict[tuple[int, ...], TimeTable] = field(default_factory=dict)

    def batch(self, timestep: Tensor, texts: tuple[Text, ...], batch: int) -> Calls[Tensor]:
        """(len(texts) * batch, E): a row for each row of a call that is made of these texts, `batch` rows each."""
        tables = [self._table(text) for text in texts]
        rows: list[Tensor] = []
        for table in tables:
            row = yield from table.row(timestep, self.device)
            rows.append(row)
        if all(table is tables[0] for table in tables):
            return rows[0].expand(len(texts) * batch, -1).contiguous()
        return torch.stack(rows).repeat_interleave(batch, dim=0)

    def _table(self, text: Text) -> TimeTable:
        assert text.times is not None
        parts = (*text.times, *(() if text.vector is None else (text.vector,)))
        key = tuple(id(part) for part in parts)
        if key not in self._tables:
            self._tables[key] = TimeTable.of(text, self.module, self.device)
        return self._tables[key]


def conditioned(
    timestep: Tensor, x: Tensor, rows: Rows, times: TimeTables | None, control: int | None = None
) -> Calls[dict[str, Tensor]]:
    """Time and text of a call, for the denoiser or one of the ControlNets. timestep: 0-dim on the host."""
    if times is not None:
        time = yield from times.batch(timestep, rows.texts(control), rows.batch)
        return {"time": time, "context_kv": rows.text(control)}
    timesteps = torch.full((x.shape[0],), float(timestep), device=x.device)
    vector = rows.vector(control)
    return {
        "timesteps": timesteps,
        "context": rows.text(control),
        **({} if vector is None else {"vector": vector}),
    }
