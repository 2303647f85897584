"""The U-Net of the Stable Diffusion family, whole and in the three parts that the hoist pass calls apart.

All share the checkpoint's key names (without "model.diffusion_model."). Where the config has a vector_width, those that
take timesteps take a vector condition behind them (SDXL: pooled text and sizes).
  UNet         x, timesteps, context -> eps
  UNetTime     timesteps -> what every res block adds, concatenated: the same for a whole sampling run
  UNetContext  context -> keys and values of every cross-attention, concatenated: the same for every step
  UNetCore     x, time, context_kv -> eps: what is left to do in a step
  UNetControl, UNetCoreControl: UNet and UNetCore that also take the residuals of ControlNets, one per skip connection
    in the order of the input blocks, then the middle's
Source: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models (2022), and the key layout and
shapes of the published checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compiler.networks.attention import SpatialTransformer
from compiler.networks.unet_config import (
    BlockSpec,
    UNetConfig,
    context_sizes,
    input_specs,
    middle_spec,
    output_specs,
    time_sizes,
)

Pairs = Iterator[tuple[Tensor, Tensor]]


def sinusoid(timesteps: Tensor, width: int) -> Tensor:
    """timesteps: (N,) float32 -> (N, width) float32: cosines, then sines, of t * 10000^(-i / (width/2))."""
    half = width // 2
    rates = torch.exp(-math.log(10000.0) / half * torch.arange(half, dtype=torch.float32, device=timesteps.device))
    angles = timesteps.float()[:, None] * rates[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class ResBlock(nn.Module):
    """Keys in_layers.0/.2, emb_layers.1, out_layers.0/.3, skip_connection."""

    def __init__(self, width_in: int, width_out: int, time_width: int, *, core: bool, time: bool) -> None:
        super().__init__()
        if time:
            self.emb_layers = nn.ModuleDict({"1": nn.Linear(time_width, width_out)})
        if core:
            self.in_layers = nn.ModuleDict(
                {"0": nn.GroupNorm(32, width_in), "2": nn.Conv2d(width_in, width_out, 3, padding=1)}
            )
            self.out_layers = nn.ModuleDict(
                {"0": nn.GroupNorm(32, width_out), "3": nn.Conv2d(width_out, width_out, 3, padding=1)}
            )
            self.skip_connection = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else nn.Identity()

    def time(self, embedding: Tensor) -> Tensor:
        """embedding: (N, time_width), already through SiLU -> (N, width_out)."""
        out: Tensor = self.emb_layers["1"](embedding)
        return out

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.in_layers["2"](F.silu(self.in_layers["0"](x)))
        h = h + time[:, :, None, None]
        h = self.out_layers["3"](F.silu(self.out_layers["0"](h)))
        out: Tensor = self.skip_connection(x) + h
        return out


class Resample(nn.Module):
    """A 3x3 convolution under the name the checkpoint has: "op" with stride 2, "conv" after growing to a size."""

    def __init__(self, width: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        if up:
            self.conv = nn.Conv2d(width, width, 3, padding=1)
        else:
            self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        """like: grow to the height and width of this tensor (odd sizes were halved rounding up)."""
        if like is None:
            out: Tensor = self.op(x)
            return out
        return torch.as_tensor(self.conv(F.interpolate(x, size=like.shape[-2:], mode="nearest")))


def make_block(spec: BlockSpec, config: UNetConfig, *, core: bool, time: bool, context: bool) -> nn.ModuleDict:
    """The numbered children of one block. Parts that have no weight in this network are left out."""

    def transformer() -> SpatialTransformer:
        width, heads = spec.width_out, config.heads_of(spec.width_out)
        linear = config.linear_projection
        return SpatialTransformer(width, config.context_width, heads, spec.depth, linear, core=core, kv=context)

    children: dict[str, nn.Module] = {}
    if spec.kind == "conv":
        if core:
            children["0"] = nn.Conv2d(spec.width_in, spec.width_out, 3, padding=1)
    elif spec.kind == "down":
        if core:
            children["0"] = Resample(spec.width_out, up=False)
    else:
        children["0"] = ResBlock(spec.width_in, spec.width_out, config.time_width, core=core, time=time)
        if spec.depth:
            children["1"] = transformer()
        if spec.kind == "middle":
            children["2" if spec.depth else "1"] = ResBlock(
                spec.width_out, spec.width_out, config.time_width, core=core, time=time
            )
        if spec.up and core:
            children[str(len(children))] = Resample(spec.width_out, up=True)
    return nn.ModuleDict(children)


def time_embedding(config: UNetConfig) -> nn.ModuleDict:
    width = config.time_width
    return nn.ModuleDict({"0": nn.Linear(config.model_channels, width), "2": nn.Linear(width, width)})


def vector_embedding(config: UNetConfig) -> nn.ModuleDict:
    """Keys label_emb.0.0, label_emb.0.2."""
    width = config.time_width
    layers = {"0": nn.Linear(config.vector_width, width), "2": nn.Linear(width, width)}
    return nn.ModuleDict({"0": nn.ModuleDict(layers)})


class Conditioned(nn.Module):
    """What the U-Net and ControlNets, copies of its encoder, share: how timestep, vector and text reach the blocks."""

    time_embed: nn.ModuleDict
    label_emb: nn.ModuleDict

    def __init__(self, config: UNetConfig, *, time: bool) -> None:
        super().__init__()
        self.model_channels = config.model_channels
        if time:
            self.time_embed = time_embedding(config)
            if config.vector_width:
                self.label_emb = vector_embedding(config)

    def blocks(self) -> Iterator[nn.ModuleDict]:
        """In running order."""
        raise AssertionError("each network says what its blocks are")

    def _children(self) -> Iterator[nn.Module]:
        for block in self.blocks():
            yield from block.values()

    def times(self, timesteps: Tensor, vector: Tensor | None = None) -> list[Tensor]:
        """timesteps: (N,), vector: (N, vector_width) -> per res block (N, width)."""
        h = sinusoid(timesteps, self.model_channels).to(self.time_embed["0"].weight.dtype)  # type: ignore[arg-type]
        h = self.time_embed["2"](F.silu(self.time_embed["0"](h)))
        if vector is not None:
            layers = self.label_emb["0"]
            h = h + layers["2"](F.silu(layers["0"](vector)))  # type: ignore[index]
        h = F.silu(h)
        return [child.time(h) for child in self._children() if isinstance(child, ResBlock)]

    def keys_values(self, context: Tensor) -> list[Tensor]:
        """context: (B, T, context_width) -> k, v, k, v, ... each (B, T, width)."""
        flat: list[Tensor] = []
        for child in self._children():
            if isinstance(child, SpatialTransformer):
                for block in child.transformer_blocks:
                    flat.extend(block.attn2.keys_values(context))  # type: ignore[operator, union-attr]
        return flat


class _Parts(Conditioned):
    """The blocks, with the weights of the chosen parts only."""

    def __init__(self, config: UNetConfig, *, core: bool = False, time: bool = False, context: bool = False) -> None:
        super().__init__(config, time=time)
        self.config = config
        flags = {"core": core, "time": time, "context": context}
        self.input_blocks = nn.ModuleList(make_block(s, config, **flags) for s in input_specs(config))
        self.middle_block = make_block(middle_spec(config), config, **flags)
        self.output_blocks = nn.ModuleList(make_block(s, config, **flags) for s in output_specs(config))
        if core:
            self.out = nn.ModuleDict(
                {
                    "0": nn.GroupNorm(32, config.model_channels),
                    "2": nn.Conv2d(config.model_channels, config.out_channels, 3, padding=1),
                }
            )

    def blocks(self) -> Iterator[nn.ModuleDict]:
        yield from (*self.input_blocks, self.middle_block, *self.output_blocks)

    def predict(
        self, x: Tensor, times: list[Tensor], keys_values: list[Tensor], control: Sequence[Tensor] = ()
    ) -> Tensor:
        """The step itself. x: (B, in_channels, h, w) -> (B, out_channels, h, w). control: see UNetControl."""
        time = iter(times)
        pairs: Pairs = iter(zip(keys_values[::2], keys_values[1::2], strict=True))
        skips: list[Tensor] = []
        h = x
        for block in self.input_blocks:
            h = run_block(block, h, time, pairs)  # type: ignore[arg-type]
            skips.append(h)
        h = run_block(self.middle_block, h, time, pairs)
        if control:
            *residuals, middle = control
            skips = [skip + residual for skip, residual in zip(skips, residuals, strict=True)]
            h = h + middle
        for block in self.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            h = run_block(block, h, time, pairs, like=skips[-1] if skips else None)  # type: ignore[arg-type]
        out: Tensor = self.out["2"](F.silu(self.out["0"](h)))
        return out


def run_block(
    block: nn.ModuleDict, h: Tensor, time: Iterator[Tensor], pairs: Pairs, like: Tensor | None = None
) -> Tensor:
    """One block on h. time and pairs: of all blocks, each taken in running order."""
    for child in block.values():
        if isinstance(child, ResBlock):
            h = child(h, next(time))
        elif isinstance(child, SpatialTransformer):
            h = child(h, [next(pairs) for _ in child.transformer_blocks])
        elif isinstance(child, Resample):
            h = child(h, like) if child.up else child(h)
        else:
            h = child(h)
    return h


class UNet(_Parts):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config, core=True, time=True, context=True)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, vector: Tensor | None = None) -> Tensor:
        """x: (B, C, h, w), scaled for the network; timesteps: (B,) float32; context: (B, T, context_width); vector:
        (B, vector_width) where the config has one."""
        return self.predict(x, self.times(timesteps, vector), self.keys_values(context))


class UNetTime(_Parts):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config, time=True)

    def forward(self, timesteps: Tensor, vector: Tensor | None = None) -> Tensor:
        """timesteps: (N,) float32, vector: (N, vector_width) -> (N, sum(time_sizes))."""
        return torch.cat(self.times(timesteps, vector), dim=-1)


class UNetContext(_Parts):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config, context=True)

    def forward(self, context: Tensor) -> Tensor:
        """context: (B, T, context_width) -> (B, T, sum(context_sizes))."""
        return torch.cat(self.keys_values(context), dim=-1)


class UNetCore(_Parts):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config, core=True)

    def forward(self, x: Tensor, time: Tensor, context_kv: Tensor) -> Tensor:
        """x: (B, C, h, w); time: (B, sum(time_sizes)); context_kv: (B, T, sum(context_sizes))."""
        times = torch.split(time, list(time_sizes(self.config)), dim=-1)
        keys_values = torch.split(context_kv, list(context_sizes(self.config)), dim=-1)
        return self.predict(x, list(times), list(keys_values))


class UNetControl(_Parts):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config, core=True, time=True, context=True)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, *rest: Tensor) -> Tensor:
        """As UNet. rest: the vector where the config has one, then residuals as a ControlNet gives them, added to the
        skip connections and to the middle."""
        vector, control = (rest[0], rest[1:]) if self.config.vector_width else (None, rest)
        return self.predict(x, self.times(timesteps, vector), self.keys_values(context), control)


class UNetCoreControl(_Parts):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config, core=True)

    def forward(self, x: Tensor, time: Tensor, context_kv: Tensor, *control: Tensor) -> Tensor:
        """As UNetCore. control: as UNetControl takes it."""
        times = torch.split(time, list(time_sizes(self.config)), dim=-1)
        keys_values = torch.split(context_kv, list(context_sizes(self.config)), dim=-1)
        return self.predict(x, list(times), list(keys_values), control)
