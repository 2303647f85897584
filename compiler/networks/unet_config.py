"""The shape of a U-Net of the Stable Diffusion families, read from its weights, and the running order of its blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from compiler.networks.shapes import Shapes
from graphs.errors import CheckpointError


@dataclass(frozen=True)
class UNetConfig:
    """widths, res_blocks, depths: per resolution level, finest first. depths: transformer blocks after each res block.

    heads: heads of every attention (SD1: 8), or None and head_width channels each (SD2, SDXL: 64). vector_width: of the
    vector condition that is added to the time embedding (SDXL: pooled text and sizes), 0 for none.
    """

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    time_width: int = 1280
    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    res_blocks: tuple[int, ...] = (2, 2, 2, 2)
    depths: tuple[int, ...] = (1, 1, 1, 0)
    middle_depth: int = 1
    context_width: int = 768
    heads: int | None = 8
    head_width: int = 64
    linear_projection: bool = False
    vector_width: int = 0

    def heads_of(self, width: int) -> int:
        return self.heads if self.heads is not None else width // self.head_width


@dataclass(frozen=True)
class BlockSpec:
    """One entry of input_blocks, middle_block or output_blocks.

    kind: "conv" (the first convolution), "down" (a stride-2 convolution alone), "res" (res block, depth transformer
    blocks, then an upsample where `up`), "middle" (res, transformer, res).
    """

    kind: str
    width_in: int
    width_out: int
    depth: int = 0
    up: bool = False


def input_specs(config: UNetConfig) -> tuple[BlockSpec, ...]:
    specs = [BlockSpec("conv", config.in_channels, config.model_channels)]
    width = config.model_channels
    for level, (out, count, depth) in enumerate(zip(config.widths, config.res_blocks, config.depths, strict=True)):
        for _ in range(count):
            specs.append(BlockSpec("res", width, out, depth))
            width = out
        if level + 1 < len(config.widths):
            specs.append(BlockSpec("down", width, width))
    return tuple(specs)


def middle_spec(config: UNetConfig) -> BlockSpec:
    return BlockSpec("middle", config.widths[-1], config.widths[-1], config.middle_depth)


def output_specs(config: UNetConfig) -> tuple[BlockSpec, ...]:
    """width_in counts the skip that is concatenated."""
    skips = [spec.width_out for spec in input_specs(config)]
    width, specs = config.widths[-1], []
    for level in reversed(range(len(config.widths))):
        for i in range(config.res_blocks[level] + 1):
            last = i == config.res_blocks[level]
            specs.append(
                BlockSpec("res", width + skips.pop(), config.widths[level], config.depths[level], up=last and level > 0)
            )
            width = config.widths[level]
    return tuple(specs)


def encoder_order(config: UNetConfig) -> tuple[BlockSpec, ...]:
    """What a ControlNet has of the U-Net: its input blocks and its middle."""
    return (*input_specs(config), middle_spec(config))


def running_order(config: UNetConfig) -> tuple[BlockSpec, ...]:
    return (*encoder_order(config), *output_specs(config))


def time_sizes(config: UNetConfig) -> tuple[int, ...]:
    """Channels of the time embedding that each res block takes, in running order."""
    return times_of(running_order(config))


def context_sizes(config: UNetConfig) -> tuple[int, ...]:
    """Channels of keys and values of each cross-attention (k, v, k, v, ...), in running order."""
    return contexts_of(running_order(config))


def times_of(specs: Iterable[BlockSpec]) -> tuple[int, ...]:
    sizes: list[int] = []
    for spec in specs:
        sizes += [spec.width_out] * {"res": 1, "middle": 2}.get(spec.kind, 0)
    return tuple(sizes)


def contexts_of(specs: Iterable[BlockSpec]) -> tuple[int, ...]:
    sizes: list[int] = []
    for spec in specs:
        sizes += [spec.width_out] * (2 * spec.depth)
    return tuple(sizes)


def residual_sizes(config: UNetConfig) -> tuple[tuple[int, int], ...]:
    """(channels, halvings of height and width) of every skip connection, then of the middle: what a ControlNet gives.

    A halving rounds up."""
    sizes: list[tuple[int, int]] = []
    halvings = 0
    for spec in encoder_order(config):
        halvings += spec.kind == "down"
        sizes.append((spec.width_out, halvings))
    return tuple(sizes)


# --- reading --------------------------------------------------------------------------------------------------------


def unet_config(unet: Shapes) -> UNetConfig:
    """Raises CheckpointError for shapes that make up no U-Net. Heads leave no trace in the shapes: the family sets
    them (compiler.families)."""
    return encoder_config(unet, unet.of("out.2.weight", 4)[0])


def encoder_config(unet: Shapes, out_channels: int) -> UNetConfig:
    """From the input blocks and the middle alone, which a ControlNet has in common with its U-Net. Raises
    CheckpointError."""
    model_channels, in_channels = unet.of("input_blocks.0.0.weight", 4)[:2]
    widths, counts, depths = _levels(unet)
    attention, projection = unet.first(["attn2.to_k.weight"]), unet.first([".proj_in.weight"])
    if attention is None or projection is None:
        raise CheckpointError("the U-Net takes no text", where=unet.where, expected="cross-attention blocks")
    for width in {model_channels, *widths}:
        if width % 32:
            raise unet.odd("input_blocks", "widths that are multiples of 32", str(width))
    return UNetConfig(
        in_channels=in_channels,
        out_channels=out_channels,
        model_channels=model_channels,
        time_width=unet.of("time_embed.0.weight", 2)[0],
        widths=widths,
        res_blocks=counts,
        depths=depths,
        middle_depth=_depth(unet, "middle_block"),
        context_width=unet.of(attention, 2)[1],
        heads=None,
        linear_projection=len(unet.shapes[projection]) == 2,
        vector_width=unet.of("label_emb.0.0.weight", 2)[1] if "label_emb.0.0.weight" in unet.shapes else 0,
    )


def _levels(unet: Shapes) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Per level: width, number of res blocks, transformer blocks after each. A level ends where a downsample stands."""
    widths: list[int] = []
    counts: list[int] = []
    depths: list[int] = []
    fresh = True
    for n in unet.numbers(r"input_blocks\.(\d+)\.")[1:]:
        block = f"input_blocks.{n}"
        if f"{block}.0.op.weight" in unet.shapes:
            fresh = True
            continue
        width, depth = unet.of(f"{block}.0.out_layers.3.weight", 4)[0], _depth(unet, block)
        if fresh:
            widths, counts, depths, fresh = [*widths, width], [*counts, 0], [*depths, depth], False
        counts[-1] += 1
        if (width, depth) != (widths[-1], depths[-1]):
            raise unet.odd(
                f"{block}.0.out_layers.3.weight", f"width {widths[-1]} and {depths[-1]} transformer blocks as before",
                f"width {width} and {depth}",
            )  # fmt: skip
    return tuple(widths), tuple(counts), tuple(depths)


def _depth(unet: Shapes, block: str) -> int:
    return len(unet.numbers(rf"{re.escape(block)}\.1\.transformer_blocks\.(\d+)\."))
