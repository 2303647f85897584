"""The U-Net behind an engine, whole or with text and time hoisted, with or without ControlNets: runtime.sampling's
Network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from runtime.ops.engine_calls import single

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.backends.backend import Module
    from runtime.ops.controlnet import ControlNets
    from runtime.ops.engine_calls import TimeTable
    from runtime.sampling.control import ControlInput
    from runtime.sampling.model_sampling import ModelSampling


@dataclass(frozen=True, eq=False)
class WholeNetwork:
    """The network with its text projections and time embedding inside: x, timesteps, context -> eps."""

    unet: Module
    model: ModelSampling
    control: ControlNets | None = None

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor, controls: Sequence[ControlInput] = ()) -> Tensor:
        timestep = self.model.timestep(sigma)
        added = self.control.residuals(x, timestep, controls) if self.control is not None else {}
        timesteps = torch.full((x.shape[0],), float(timestep), device=x.device)
        return single(self.unet({"x": x, "timesteps": timesteps, "context": cond, **added}), "unet").float()


@dataclass(frozen=True, eq=False)
class CoreNetwork:
    """The network with both hoisted: x, time, context_kv -> eps."""

    unet: Module
    model: ModelSampling
    times: TimeTable
    control: ControlNets | None = None

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor, controls: Sequence[ControlInput] = ()) -> Tensor:
        timestep = self.model.timestep(sigma)
        added = self.control.residuals(x, timestep, controls) if self.control is not None else {}
        time = self.times.batch(timestep, x.shape[0], x.device)
        return single(self.unet({"x": x, "time": time, "context_kv": cond, **added}), "unet").float()
