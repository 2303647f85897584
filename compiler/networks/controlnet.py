"""ControlNet for the Stable Diffusion families: a copy of the U-Net's encoder that sees a hint picture.

Keys as in the published files (lllyasviel's .pth and .safetensors) without "control_model.":
  time_embed.0/.2, label_emb.0.0/.2 (where the U-Net takes a vector), input_blocks.N..., middle_block.N...
                                                          as in the U-Net of the same config
  input_hint_block.0/.2/.4/.6/.8/.10/.12/.14              3x3 convolutions from hint to model_channels, SiLU between;
                                                          .4, .8 and .12 have stride 2, so 8 pixels make a latent unit
  zero_convs.N.0                                          1x1, one per input block
  middle_block_out.0                                      1x1
Every network here gives its residuals in the order of UNetControl's `control`: per input block, then the middle's.

  ControlNet         x, hint picture, timesteps, context -> residuals    the whole, e.g. for training
  ControlNetHint     hint picture -> hint embedding: the same for a whole sampling run
  ControlNetStep     x, hint embedding, timesteps, context -> residuals
  ControlNetTime, ControlNetContext, ControlNetCore: ControlNetStep in the parts that the hoist pass calls apart
Source: Zhang et al., Adding Conditional Control to Text-to-Image Diffusion Models (2023), section 3, and the key layout
and shapes of the published files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compiler.networks.shapes import Shapes
from compiler.networks.unet import Conditioned, Pairs, make_block, run_block
from compiler.networks.unet_config import (
    BlockSpec,
    UNetConfig,
    contexts_of,
    encoder_config,
    encoder_order,
    input_specs,
    middle_spec,
    times_of,
)

HINT_STRIDES = (1, 1, 2, 1, 2, 1, 2, 1)  # of the hint's convolutions; their product is the pixels of a latent unit


@dataclass(frozen=True)
class ControlNetConfig:
    """encoder: of the U-Net whose encoder this is a copy of (its out_channels are ignored).

    hint_widths: channels between the hint's eight convolutions.
    """

    encoder: UNetConfig = field(default_factory=UNetConfig)
    hint_channels: int = 3
    hint_widths: tuple[int, ...] = (16, 16, 32, 32, 96, 96, 256)

    @property
    def blocks(self) -> tuple[BlockSpec, ...]:
        return encoder_order(self.encoder)


def control_config(control: Shapes) -> ControlNetConfig:
    """Raises CheckpointError where the shapes are of no ControlNet."""
    encoder = encoder_config(control, control.of("input_blocks.0.0.weight", 4)[1])
    convs = [control.of(f"input_hint_block.{2 * number}.weight", 4) for number in range(len(HINT_STRIDES))]
    return ControlNetConfig(encoder, convs[0][1], tuple(shape[0] for shape in convs[:-1]))


def control_time_sizes(config: ControlNetConfig) -> tuple[int, ...]:
    return times_of(config.blocks)


def control_context_sizes(config: ControlNetConfig) -> tuple[int, ...]:
    return contexts_of(config.blocks)


class _Parts(Conditioned):
    """The blocks, with the weights of the chosen parts only."""

    def __init__(
        self, config: ControlNetConfig, *, core: bool = False, time: bool = False, context: bool = False,
        hint: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(config.encoder, time=time)
        self.config = config
        encoder = config.encoder
        if hint:
            self.input_hint_block = _hint_block(config)
        if core or time or context:
            flags = {"core": core, "time": time, "context": context}
            self.input_blocks = nn.ModuleList(make_block(s, encoder, **flags) for s in input_specs(encoder))
            self.middle_block = make_block(middle_spec(encoder), encoder, **flags)
        if core:
            self.zero_convs = nn.ModuleList(_one_to_one(s.width_out) for s in input_specs(encoder))
            self.middle_block_out = _one_to_one(middle_spec(encoder).width_out)

    def blocks(self) -> Iterator[nn.ModuleDict]:
        yield from (*self.input_blocks, self.middle_block)

    def embed_hint(self, hint: Tensor) -> Tensor:
        """hint: (B, 3, 8h, 8w) in [0, 1] -> (B, model_channels, h, w)."""
        h = hint
        for name, conv in self.input_hint_block.items():
            h = conv(h if name == "0" else F.silu(h))
        return h

    def residuals(self, x: Tensor, hint: Tensor, times: list[Tensor], keys_values: list[Tensor]) -> list[Tensor]:
        """x: (B, in_channels, h, w); hint: embedded, (B, model_channels, h, w)."""
        time = iter(times)
        pairs: Pairs = iter(zip(keys_values[::2], keys_values[1::2], strict=True))
        found: list[Tensor] = []
        h = x
        for number, (block, out) in enumerate(zip(self.input_blocks, self.zero_convs, strict=True)):
            h = run_block(block, h, time, pairs)  # type: ignore[arg-type]
            if number == 0:
                h = h + hint
            found.append(out["0"](h))  # type: ignore[index]
        h = run_block(self.middle_block, h, time, pairs)
        return [*found, self.middle_block_out["0"](h)]


def _hint_block(config: ControlNetConfig) -> nn.ModuleDict:
    widths = (config.hint_channels, *config.hint_widths, config.encoder.model_channels)
    pairs = zip(widths, widths[1:], HINT_STRIDES, strict=False)
    convs = (nn.Conv2d(before, after, 3, stride=stride, padding=1) for before, after, stride in pairs)
    return nn.ModuleDict({str(2 * number): conv for number, conv in enumerate(convs)})


def _one_to_one(width: int) -> nn.ModuleDict:
    return nn.ModuleDict({"0": nn.Conv2d(width, width, 1)})


class ControlNet(_Parts):
    def __init__(self, config: ControlNetConfig) -> None:
        super().__init__(config, core=True, time=True, context=True, hint=True)

    def forward(
        self, x: Tensor, hint: Tensor, timesteps: Tensor, context: Tensor, vector: Tensor | None = None
    ) -> list[Tensor]:
        """x: (B, C, h, w), scaled for the network; hint: (B, 3, 8h, 8w) in [0, 1]; timesteps: (B,) float32; context:
        (B, T, context_width); vector: as UNet. Gives the residuals at strength 1."""
        return self.residuals(x, self.embed_hint(hint), self.times(timesteps, vector), self.keys_values(context))


class ControlNetHint(_Parts):
    def __init__(self, config: ControlNetConfig) -> None:
        super().__init__(config, hint=True)

    def forward(self, image: Tensor) -> Tensor:
        """image: (B, 8h, 8w, 3) in [0, 1], ComfyUI's IMAGE -> (B, model_channels, h, w)."""
        return self.embed_hint(image.permute(0, 3, 1, 2))


class ControlNetStep(_Parts):
    def __init__(self, config: ControlNetConfig) -> None:
        super().__init__(config, core=True, time=True, context=True)

    def forward(
        self, x: Tensor, hint: Tensor, timesteps: Tensor, context: Tensor, vector: Tensor | None = None
    ) -> list[Tensor]:
        """As ControlNet, with the hint embedded: (B, model_channels, h, w)."""
        return self.residuals(x, hint, self.times(timesteps, vector), self.keys_values(context))


class ControlNetTime(_Parts):
    def __init__(self, config: ControlNetConfig) -> None:
        super().__init__(config, time=True)

    def forward(self, timesteps: Tensor, vector: Tensor | None = None) -> Tensor:
        """timesteps: (N,) float32, vector: (N, vector_width) -> (N, sum(control_time_sizes))."""
        return torch.cat(self.times(timesteps, vector), dim=-1)


class ControlNetContext(_Parts):
    def __init__(self, config: ControlNetConfig) -> None:
        super().__init__(config, context=True)

    def forward(self, context: Tensor) -> Tensor:
        """context: (B, T, context_width) -> (B, T, sum(control_context_sizes))."""
        return torch.cat(self.keys_values(context), dim=-1)


class ControlNetCore(_Parts):
    def __init__(self, config: ControlNetConfig) -> None:
        super().__init__(config, core=True)

    def forward(self, x: Tensor, hint: Tensor, time: Tensor, context_kv: Tensor) -> list[Tensor]:
        """x, hint: as ControlNetStep; time: (B, sum(control_time_sizes)); context_kv: (B, T, sum(...context_sizes))."""
        times = torch.split(time, list(control_time_sizes(self.config)), dim=-1)
        keys_values = torch.split(context_kv, list(control_context_sizes(self.config)), dim=-1)
        return self.residuals(x, hint, list(times), list(keys_values))
