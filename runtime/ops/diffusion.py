"""The diffusion network behind an engine, whole or with text and time hoisted, with or without ControlNets: the Network
of runtime.sampling.guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.ops.engine_calls import conditioned, single
from runtime.sampling.batching import Call

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.backends.backend import Module
    from runtime.ops.controlnet import ControlNets
    from runtime.ops.engine_calls import TimeTables
    from runtime.sampling.batching import Calls
    from runtime.sampling.model_sampling import ModelSampling
    from runtime.sampling.rows import Rows


@dataclass(frozen=True, eq=False)
class DenoiserNetwork:
    """times None: text projections and time embedding are inside the engine, which takes timesteps and context; else
    it takes time and context_kv. control: None where the engine takes no residuals."""

    module: Module
    model: ModelSampling
    times: TimeTables | None = None
    control: ControlNets | None = None

    def __call__(self, x: Tensor, sigma: Tensor, rows: Rows) -> Calls[Tensor]:
        timestep = self.model.timestep(sigma)
        inputs = {"x": x, **(yield from conditioned(timestep, x, rows, self.times))}
        if self.control is not None:
            inputs |= yield from self.control.residuals(x, timestep, rows)
        return single((yield Call(self.module, inputs)), "denoiser").float()
