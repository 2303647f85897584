"""The architecture of a network, read from the names and shapes of its weights (never from a file name)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from compiler.networks.controlnet import ControlNetConfig
from compiler.networks.text import TextConfig
from compiler.networks.unet_config import UNetConfig
from compiler.networks.vae import VaeConfig
from graphs.errors import CheckpointError

Shape = tuple[int, ...]
USE_SD1 = "use a Stable Diffusion 1.x checkpoint with this workflow"


@dataclass(frozen=True)
class Architecture:
    """family: "sd15". prediction: "eps" or "v". A part that the file lacks is None."""

    family: str
    unet: UNetConfig | None = None
    vae: VaeConfig | None = None
    clip: TextConfig | None = None
    controlnet: ControlNetConfig | None = None
    prediction: str = "eps"
    latent_scale: float = 0.18215


@dataclass(frozen=True)
class Shapes:
    """The shapes of one part's weights under their names inside it. where: the file, for errors."""

    shapes: Mapping[str, Shape]
    where: str

    def of(self, key: str, dims: int) -> Shape:
        """The shape of a weight that must be there. Raises CheckpointError."""
        shape = self.shapes.get(key)
        if shape is None:
            raise CheckpointError("a tensor is missing", where=self.where, expected=key, hint="the file is incomplete")
        if len(shape) != dims or min(shape) < 1:
            raise self.odd(key, f"{dims} dimensions", str(list(shape)))
        return shape

    def numbers(self, pattern: str) -> list[int]:
        """The numbers that a pattern's group takes over all keys."""
        compiled = re.compile(pattern)
        return sorted({int(m[1]) for key in self.shapes if (m := compiled.match(key))})

    def first(self, endings: Iterable[str]) -> str | None:
        found = tuple(endings)
        return next((key for key in self.shapes if key.endswith(found)), None)

    def odd(self, key: str, expected: str, got: str) -> CheckpointError:
        return CheckpointError(
            f"tensor '{key}' has a shape that no known network has", where=self.where, expected=expected, got=got,
            hint="the file is damaged, or of an architecture that is not compiled yet",
        )  # fmt: skip


def unet_config(unet: Shapes) -> UNetConfig:
    """Raises CheckpointError for a U-Net that is no Stable Diffusion 1, and says what it is."""
    return encoder_config(unet, unet.of("out.2.weight", 4)[0])


def encoder_config(unet: Shapes, out_channels: int) -> UNetConfig:
    """From the input blocks and the middle alone, which a ControlNet has in common with its U-Net. Raises
    CheckpointError."""
    model_channels, in_channels = unet.of("input_blocks.0.0.weight", 4)[:2]
    widths, counts, depths = _levels(unet)
    attention, projection = unet.first(["attn2.to_k.weight"]), unet.first([".proj_in.weight"])
    if attention is None or projection is None:
        raise CheckpointError("the U-Net takes no text", where=unet.where, expected="cross-attention blocks")
    config = UNetConfig(
        in_channels=in_channels,
        out_channels=out_channels,
        model_channels=model_channels,
        time_width=unet.of("time_embed.0.weight", 2)[0],
        widths=widths,
        res_blocks=counts,
        depths=depths,
        middle_depth=_depth(unet, "middle_block"),
        context_width=unet.of(attention, 2)[1],
        heads=8,  # heads leave no trace in the shapes: Stable Diffusion 1 has 8 in every attention
        linear_projection=len(unet.shapes[projection]) == 2,
    )
    _require_sd1(unet, config)
    return config


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


def _require_sd1(unet: Shapes, config: UNetConfig) -> None:
    """Other families whose U-Net has the same names."""
    got = None
    if any(key.startswith("label_emb.") for key in unet.shapes):
        got = {2048: "SDXL", 1280: "the SDXL refiner", 1024: "Stable Diffusion 2 unCLIP"}.get(config.context_width)
        got = got or "a U-Net with a vector condition"
    elif config.linear_projection and config.context_width == 1024:
        got = "Stable Diffusion 2"
    if got:
        raise not_compiled(unet.where, got)
    for width in {config.model_channels, *config.widths}:
        if width % 32:
            raise unet.odd("input_blocks", "widths that are multiples of 32", str(width))


def not_compiled(where: str, got: str, hint: str = USE_SD1) -> CheckpointError:
    return CheckpointError(
        "the file is of an architecture that is not compiled yet", where=where, expected="Stable Diffusion 1", got=got,
        hint=hint,
    )  # fmt: skip


def vae_config(vae: Shapes) -> VaeConfig:
    levels = vae.numbers(r"decoder\.up\.(\d+)\.")
    widths = tuple(vae.of(f"decoder.up.{level}.block.0.conv2.weight", 4)[0] for level in levels)
    for width in widths or (0,):
        if width % 32 or not width:
            raise vae.odd("decoder.up", "levels with widths that are multiples of 32", str(list(widths)))
    latent, embed = vae.of("decoder.conv_in.weight", 4)[1], vae.of("post_quant_conv.weight", 4)[1]
    if embed != 4:
        raise not_compiled(vae.where, f"a VAE of {embed} latent channels", "use a Stable Diffusion 1.x model's VAE")
    return VaeConfig(
        widths=widths,
        res_blocks=len(vae.numbers(r"decoder\.up\.0\.block\.(\d+)\.")) - 1,
        latent_channels=latent,
        embed_channels=embed,
        image_channels=vae.of("decoder.conv_out.weight", 4)[0],
    )


def text_config(text: Shapes) -> TextConfig:
    vocabulary, width = text.of("text_model.embeddings.token_embedding.weight", 2)
    config = TextConfig(
        width=width,
        layers=len(text.numbers(r"text_model\.encoder\.layers\.(\d+)\.")),
        inner=text.of("text_model.encoder.layers.0.mlp.fc1.weight", 2)[0],
        vocabulary=vocabulary,
        positions=text.of("text_model.embeddings.position_embedding.weight", 2)[0],
    )
    if width % config.heads:
        raise text.odd("text_model", "a width that is a multiple of 64", str(width))
    return config
