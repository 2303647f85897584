"""What the ControlNets of a guider add to its denoiser.

A hint is embedded once for each size on which it acts; text and time come in as the hoist pass prepared them. What a
control does not do (strength 0, outside its range) is not computed: the denoiser then gets zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch

from runtime.ops.engine_calls import TimeTables, conditioned, single
from runtime.ops.resize import center_crop, resample
from runtime.sampling.batching import Call

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.batching import Calls
    from runtime.sampling.conditions import Control
    from runtime.sampling.control import Acting
    from runtime.sampling.latent_format import LatentFormat
    from runtime.sampling.rows import Rows


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
    """controls: each with the text of some entry, which is not looked at. shapes: of the residuals."""

    controls: Sequence[Control]
    shapes: Sequence[ResidualShape]
    form: LatentFormat
    _times: dict[int, TimeTables] = field(default_factory=dict)
    _embedded: dict[tuple[int, int, int, int], Tensor] = field(default_factory=dict)
    _nothing: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    def residuals(self, x: Tensor, timestep: Tensor, rows: Rows) -> Calls[dict[str, Tensor]]:
        """What the denoiser takes as control_0, control_1, ...: the sum over the controls that act.

        x: (N, C, h, w), as the denoiser gets it. timestep: 0-dim on the host."""
        total: list[Tensor] = []
        for acting in rows.acting:
            outputs = yield from self._call(x, timestep, acting, rows)
            found = [self._scaled(outputs[_name(number)], acting) for number in range(len(self.shapes))]
            total = [sum_ + one for sum_, one in zip(total, found, strict=True)] if total else found
        total = total or [self._zeros(shape.of(x), x) for shape in self.shapes]
        return {_name(number): tensor for number, tensor in enumerate(total)}

    def _call(self, x: Tensor, timestep: Tensor, acting: Acting, rows: Rows) -> Calls[Mapping[str, Tensor]]:
        index = acting.index
        x = x[:, : self.form.channels]  # a ControlNet does not see the channels that an entry adds
        hint = yield from self._hint(x, index, rows)
        given = yield from conditioned(timestep, x, rows, self._time(index, x.device, rows), index)
        return (yield Call(self.controls[index].modules("controlnet"), {"x": x.contiguous(), "hint": hint, **given}))

    def _time(self, index: int, device: torch.device, rows: Rows) -> TimeTables | None:
        if rows.texts(index)[0].times is None:
            return None
        if index not in self._times:
            self._times[index] = TimeTables(partial(self.controls[index].modules, "controlnet_time"), device)
        return self._times[index]

    def _scaled(self, residual: Tensor, acting: Acting) -> Tensor:
        if self.controls[acting.index].averaged:
            residual = residual.mean(dim=(2, 3), keepdim=True).expand_as(residual).contiguous()
        # Even at strength 1 a copy: the engine may write into its outputs before the denoiser has read all of them.
        return residual.float() * acting.strength

    def _hint(self, x: Tensor, index: int, rows: Rows) -> Calls[Tensor]:
        """The hint embedded for x: (N, C, h, w). Hints are cut to, or repeat over, the batch of each entry."""
        control, height, width = self.controls[index], x.shape[2], x.shape[3]
        key = (index, x.shape[0], height, width)
        if key not in self._embedded:
            pixels = self.form.downscale
            image = fit_hint(control.hint[: rows.batch].to(x.device), height * pixels, width * pixels)
            outputs = yield Call(control.modules("controlnet_hint"), {"hint_image": image})
            hint = single(outputs, "controlnet_hint")
            hint = hint.repeat(-(-rows.batch // hint.shape[0]), 1, 1, 1)[: rows.batch]
            self._embedded[key] = hint.repeat(len(rows.entries), 1, 1, 1)
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
