"""The VAE of the Stable Diffusion family: pixels <-> latents.

Keys as in the checkpoint without "first_stage_model.". At the border pictures are NHWC in [0, 1], as ComfyUI's IMAGE.
Source: Rombach et al. (2022), and the key layout and shapes of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compiler.networks.attention import attend
from compiler.networks.shapes import Shapes


@dataclass(frozen=True)
class VaeConfig:
    """widths and res_blocks: per level of the encoder, finest first; the decoder has one res block more per level."""

    widths: tuple[int, ...] = (128, 256, 512, 512)
    res_blocks: int = 2
    latent_channels: int = 4
    embed_channels: int = 4
    image_channels: int = 3

    @property
    def downscale(self) -> int:
        return int(2 ** (len(self.widths) - 1))


def vae_config(vae: Shapes) -> VaeConfig:
    """Raises CheckpointError where the shapes are of no VAE."""
    levels = vae.numbers(r"decoder\.up\.(\d+)\.")
    widths = tuple(vae.of(f"decoder.up.{level}.block.0.conv2.weight", 4)[0] for level in levels)
    for width in widths or (0,):
        if width % 32 or not width:
            raise vae.odd("decoder.up", "levels with widths that are multiples of 32", str(list(widths)))
    return VaeConfig(
        widths=widths,
        res_blocks=len(vae.numbers(r"decoder\.up\.0\.block\.(\d+)\.")) - 1,
        latent_channels=vae.of("decoder.conv_in.weight", 4)[1],
        embed_channels=vae.of("post_quant_conv.weight", 4)[1],
        image_channels=vae.of("decoder.conv_out.weight", 4)[0],
    )


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, width, eps=1e-6)


def _conv(width_in: int, width_out: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, kernel, padding=kernel // 2)


class VaeBlock(nn.Module):
    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(width_in), _conv(width_in, width_out)
        self.norm2, self.conv2 = _norm(width_out), _conv(width_out, width_out)
        self.nin_shortcut = _conv(width_in, width_out, 1) if width_in != width_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = self.nin_shortcut(x) + h
        return out


class VaeAttention(nn.Module):
    """One head over all pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.q, self.k, self.v, self.proj_out = (_conv(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (conv(h).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
        h = attend(q, k, v, 1).transpose(1, 2).unflatten(2, tuple(x.shape[-2:]))  # type: ignore[no-untyped-call]
        return x + torch.as_tensor(self.proj_out(h))


class Middle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = VaeBlock(width, width), VaeAttention(width), VaeBlock(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class Downsample(nn.Module):
    """A stride-2 convolution padded at the right and at the bottom only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Encoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        width = config.widths[0]
        self.conv_in = _conv(config.image_channels, width)
        self.down = nn.ModuleList()
        for level, out in enumerate(config.widths):
            stage = nn.ModuleDict({"block": nn.ModuleList()})
            for _ in range(config.res_blocks):
                stage["block"].append(VaeBlock(width, out))  # type: ignore[operator]
                width = out
            if level + 1 < len(config.widths):
                stage["downsample"] = Downsample(width)
            self.down.append(stage)
        self.mid, self.norm_out = Middle(width), _norm(width)
        self.conv_out = _conv(width, 2 * config.latent_channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for stage in self.down:
            for block in stage["block"]:  # type: ignore[index]
                h = block(h)
            if "downsample" in stage:  # type: ignore[operator]
                h = stage["downsample"](h)  # type: ignore[index]
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return out


class Decoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.conv_in, self.mid = _conv(config.latent_channels, width), Middle(width)
        stages: list[nn.ModuleDict] = []
        for level in reversed(range(len(config.widths))):
            stage = nn.ModuleDict({"block": nn.ModuleList()})
            for _ in range(config.res_blocks + 1):
                stage["block"].append(VaeBlock(width, config.widths[level]))  # type: ignore[operator]
                width = config.widths[level]
            if level > 0:
                stage["upsample"] = Upsample(width)
            stages.append(stage)
        self.up = nn.ModuleList(reversed(stages))  # the checkpoint counts levels from the finest
        self.norm_out, self.conv_out = _norm(width), _conv(width, config.image_channels)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for stage in reversed(self.up):
            for block in stage["block"]:  # type: ignore[index]
                h = block(h)
            if "upsample" in stage:  # type: ignore[operator]
                h = stage["upsample"](h)  # type: ignore[index]
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out


class VaeDecoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.decoder = Decoder(config)
        self.post_quant_conv = _conv(config.embed_channels, config.latent_channels, 1)

    def forward(self, latent: Tensor) -> Tensor:
        """latent: (B, 4, h, w) unscaled -> image: (B, 8h, 8w, 3) in [0, 1]."""
        x = self.decoder(self.post_quant_conv(latent))
        return torch.clamp((x + 1.0) * 0.5, 0.0, 1.0).permute(0, 2, 3, 1)


class VaeDecoderU8(VaeDecoder):
    def forward(self, latent: Tensor) -> Tensor:
        """latent: (B, 4, h, w) unscaled -> image: (B, 8h, 8w, 3) uint8, 255*x truncated as ComfyUI saves pictures."""
        return (super().forward(latent) * 255.0).to(torch.uint8)


class VaeEncoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.quant_conv = _conv(2 * config.latent_channels, 2 * config.embed_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """image: (B, H, W, 3) in [0, 1] -> the posterior's mean: (B, 4, H/8, W/8), unscaled."""
        moments = self.quant_conv(self.encoder(image.permute(0, 3, 1, 2) * 2.0 - 1.0))
        mean: Tensor = moments.chunk(2, dim=1)[0]
        return mean
