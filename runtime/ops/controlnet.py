"""What the ControlNets of a sample step add to its U-Net.

A hint is embedded once for each size on which it acts; text and time come in as the hoist pass prepared them. What a
control does not do (strength 0, outside its range) is not computed: the U-Net then gets zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from runtime.ops.engine_calls import TimeTable, single
from runtime.ops.resize import center_crop, resample

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext
    from runtime.sampling.control import ControlInput

PIXELS = 8  # of a hint to a latent unit


@dataclass(frozen=True)
class ResidualShape:
    """channels, and how often height and width of the latent are halved, rounding up."""

    channels: int
    halvings: int

    def of(self, x: Tensor) -> tuple[int, int, int, int]:
        batch, _, height, width = x.shape
        scale = 2**self.halvings
        return batch, self.channels, -(-height // scale), -(-width // scale)


@dataclass(frozen=True, eq=False)
class ControlNets:
    """hints: an image (B, H, W, 3) per control. times: a table per control, or none where the networks embed time.

    averaged: per control, whether its residuals are replaced by their means over the picture."""

    context: OpContext
    shapes: Sequence[ResidualShape]
    hints: Sequence[Tensor]
    averaged: Sequence[bool]
    times: Sequence[TimeTable] = ()
    _embedded: dict[tuple[int, int, int, int], Tensor] = field(default_factory=dict)
    _nothing: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    def residuals(self, x: Tensor, timestep: Tensor, inputs: Sequence[ControlInput]) -> dict[str, Tensor]:
        """What the U-Net takes as control_0, control_1, ...: the sum over the controls that act.

        x: (N, C, h, w), as the U-Net gets it. timestep: 0-dim on the host."""
        total: list[Tensor] = []
        for given in inputs:
            outputs = self._call(x, timestep, given)
            found = [self._scaled(outputs[_name(number)], given) for number in range(len(self.shapes))]
            total = [sum_ + one for sum_, one in zip(total, found, strict=True)] if total else found
        total = total or [self._zeros(shape.of(x), x) for shape in self.shapes]
        return {_name(number): tensor for number, tensor in enumerate(total)}

    def _call(self, x: Tensor, timestep: Tensor, given: ControlInput) -> Mapping[str, Tensor]:
        index = given.control.index
        inputs = {"x": x, "hint": self._hint(x, given)}
        if self.times:
            inputs["time"] = self.times[index].batch(timestep, x.shape[0], x.device)
            inputs["context_kv"] = given.text
        else:
            inputs["timesteps"] = torch.full((x.shape[0],), float(timestep), device=x.device)
            inputs["context"] = given.text
        return self.context.module(f"controlnet.{index}")(inputs)

    def _scaled(self, residual: Tensor, given: ControlInput) -> Tensor:
        control = given.control
        if self.averaged[control.index]:
            residual = residual.mean(dim=(2, 3), keepdim=True).expand_as(residual).contiguous()
        # Even at strength 1 a copy: the engine may write into its outputs before the U-Net has read all of them.
        return residual.float() * control.strength

    def _hint(self, x: Tensor, given: ControlInput) -> Tensor:
        """The hint embedded for x: (N, C, h, w). Hints are cut to, or repeat over, the batch of each entry."""
        index, rows, height, width = given.control.index, x.shape[0], x.shape[2], x.shape[3]
        key = (index, rows, height, width)
        if key not in self._embedded:
            batch = rows // given.entries
            image = fit_hint(self.hints[index][:batch].to(x.device), height * PIXELS, width * PIXELS)
            module = self.context.module(f"controlnet_hint.{index}")
            hint = single(module({"hint_image": image}), "controlnet_hint")
            hint = hint.repeat(-(-batch // hint.shape[0]), 1, 1, 1)[:batch]
            self._embedded[key] = hint.repeat(given.entries, 1, 1, 1)
        return self._embedded[key]

    def _zeros(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        if shape not in self._nothing:
            self._nothing[shape] = torch.zeros(shape, device=like.device)
        return self._nothing[shape]


def fit_hint(image: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W, 3 or more) -> (B, height, width, 3): cut about the centre to the aspect, then nearest-exact.

    Source: ComfyUI as observed."""
    x = image[..., :3].movedim(-1, 1)
    x = center_crop(x, height, width)
    return resample(x, height, width, "nearest-exact").movedim(1, -1).contiguous()


def _name(number: int) -> str:
    return f"control_{number}"
