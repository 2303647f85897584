"""Keys of the U-Nets of Stable Diffusion 1, 2, XL and the XL refiner, and of their ControlNets, as published."""

from __future__ import annotations

from dataclasses import dataclass

from tests.parity.layouts.layout import Layout

RESIDUALS = 2  # blocks a level on the way down; one more on the way up


@dataclass(frozen=True)
class UNet:
    """multipliers, depth: by level; depth: transformer blocks, 0 for none. linear: proj_in and proj_out are Linear.

    vector: width of the vector condition, 0 for none. inputs: channels of the latent and what is concatenated to it.
    """

    multipliers: tuple[int, ...]
    depth: tuple[int, ...]
    middle: int
    context: int
    linear: bool = False
    vector: int = 0
    channels: int = 320
    inputs: int = 4

    @property
    def embed(self) -> int:
        return 4 * self.channels


SD15 = UNet((1, 2, 4, 4), (1, 1, 1, 0), 1, 768)
SD15_INPAINT = UNet((1, 2, 4, 4), (1, 1, 1, 0), 1, 768, inputs=9)
SD2 = UNet((1, 2, 4, 4), (1, 1, 1, 0), 1, 1024, linear=True)
SDXL = UNet((1, 2, 4), (0, 2, 10), 10, 2048, linear=True, vector=2816)
REFINER = UNet((1, 2, 4, 4), (0, 4, 4, 0), 4, 1280, linear=True, vector=2560, channels=384)


def unet(s: Layout, p: str, shape: UNet) -> None:
    skips, c = _encoder(s, p, shape)
    n = 0
    for level in reversed(range(len(shape.multipliers))):
        for i in range(RESIDUALS + 1):
            wide = c + skips.pop()
            c = shape.multipliers[level] * shape.channels
            _residual(s, f"{p}output_blocks.{n}.0.", wide, c, shape)
            if shape.depth[level]:
                _transformer(s, f"{p}output_blocks.{n}.1.", c, shape.depth[level], shape)
            if level and i == RESIDUALS:
                s.conv(f"{p}output_blocks.{n}.{2 if shape.depth[level] else 1}.conv", c, c)
            n += 1
    s.carry(f"{p}output_blocks.{n - 1}.0.skip_connection.weight", "skip")
    s.norm(p + "out.0", shape.channels)
    s.conv(p + "out.2", shape.channels, 4, gain=0.3)
    s.carry(p + "out.2.weight", "out")


def control(s: Layout, p: str, shape: UNet) -> None:
    """A ControlNet: the encoder half with a hint."""
    skips, c = _encoder(s, p, shape)
    for i, width in enumerate(skips):
        s.conv(f"{p}zero_convs.{i}.0", width, width, 1, gain=0.2)
    s.conv(p + "middle_block_out.0", c, c, 1, gain=0.2)
    widths = (3, 16, 16, 32, 32, 96, 96, 256, shape.channels)
    for i in range(8):
        s.conv(f"{p}input_hint_block.{2 * i}", widths[i], widths[i + 1], gain=1.6 if i < 7 else 0.3)


def _encoder(s: Layout, p: str, shape: UNet) -> tuple[list[int], int]:
    """Input blocks and middle; gives the channels of the skip connections and of the middle."""
    s.linear(p + "time_embed.0", shape.channels, shape.embed)
    s.linear(p + "time_embed.2", shape.embed, shape.embed)
    if shape.vector:
        s.linear(p + "label_emb.0.0", shape.vector, shape.embed)
        s.linear(p + "label_emb.0.2", shape.embed, shape.embed)
    s.conv(p + "input_blocks.0.0", shape.inputs, shape.channels)
    s.carry(p + "input_blocks.0.0.weight", "in")
    skips, c, n = [shape.channels], shape.channels, 1
    for level, multiplier in enumerate(shape.multipliers):
        for _ in range(RESIDUALS):
            _residual(s, f"{p}input_blocks.{n}.0.", c, multiplier * shape.channels, shape)
            c = multiplier * shape.channels
            if shape.depth[level]:
                _transformer(s, f"{p}input_blocks.{n}.1.", c, shape.depth[level], shape)
            skips.append(c)
            n += 1
        if level < len(shape.multipliers) - 1:
            s.conv(f"{p}input_blocks.{n}.0.op", c, c)
            skips.append(c)
            n += 1
    _residual(s, p + "middle_block.0.", c, c, shape)
    _transformer(s, p + "middle_block.1.", c, shape.middle, shape)
    _residual(s, p + "middle_block.2.", c, c, shape)
    return skips, c


def _residual(s: Layout, p: str, n_in: int, n_out: int, shape: UNet) -> None:
    s.norm(p + "in_layers.0", n_in)
    s.conv(p + "in_layers.2", n_in, n_out)
    s.linear(p + "emb_layers.1", shape.embed, n_out)
    s.norm(p + "out_layers.0", n_out)
    s.conv(p + "out_layers.3", n_out, n_out, gain=0.3)
    if n_in != n_out:
        s.conv(p + "skip_connection", n_in, n_out, 1)


def _transformer(s: Layout, p: str, c: int, depth: int, shape: UNet) -> None:
    s.norm(p + "norm", c)
    _projection(s, p + "proj_in", c, shape.linear, 1.0)
    for d in range(depth):
        q = f"{p}transformer_blocks.{d}."
        for name, n_context in (("attn1", c), ("attn2", shape.context)):
            s.linear(f"{q}{name}.to_q", c, c, bias=False)
            s.linear(f"{q}{name}.to_k", n_context, c, bias=False)
            s.linear(f"{q}{name}.to_v", n_context, c, bias=False)
            s.linear(f"{q}{name}.to_out.0", c, c, gain=0.5)
        s.linear(q + "ff.net.0.proj", c, 8 * c)
        s.linear(q + "ff.net.2", 4 * c, c, gain=0.5)
        for n in (1, 2, 3):
            s.norm(f"{q}norm{n}", c)
    _projection(s, p + "proj_out", c, shape.linear, 0.3)


def _projection(s: Layout, key: str, c: int, linear: bool, gain: float) -> None:
    if linear:
        s.linear(key, c, c, gain=gain)
    else:
        s.conv(key, c, c, 1, gain=gain)
