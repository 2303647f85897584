"""The demo model's networks: the product's own modules at narrow widths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compiler.networks.text import ClipText, TextConfig
from compiler.networks.unet import UNet
from compiler.networks.unet_config import UNetConfig
from compiler.networks.vae import VaeConfig, VaeDecoder, VaeEncoder
from runtime.sampling.model_sampling import ModelSampling
from runtime.sampling.paths import model_sampling

LATENT_SCALE = 0.18215  # Stable Diffusion 1's: latents times this have unit variance
PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text": "cond_stage_model.transformer."}
SCHEDULE = {"kind": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "timesteps": 1000}


@dataclass(frozen=True)
class Size:
    """What is trained: the shipped one, or a tiny one that shows in seconds on a CPU that training works."""

    unet: UNetConfig
    vae: VaeConfig
    text: TextConfig
    side: int  # pixels


def shipped(rows: int) -> Size:
    """rows: of the token table while training."""
    text = TextConfig(width=128, layers=4, inner=512, vocabulary=rows)
    unet = UNetConfig(
        model_channels=64, time_width=256, widths=(64, 96, 128), res_blocks=(2, 2, 2), depths=(0, 1, 1),
        context_width=text.width,
    )  # fmt: skip
    return Size(unet, VaeConfig(widths=(64, 64, 64, 64), res_blocks=1), text, 256)


def tiny(rows: int) -> Size:
    text = TextConfig(width=64, layers=1, inner=128, vocabulary=rows)
    unet = UNetConfig(
        model_channels=32, time_width=64, widths=(32, 32), res_blocks=(1, 1), depths=(0, 1), context_width=text.width
    )
    return Size(unet, VaeConfig(widths=(32, 32, 32, 32), res_blocks=1), text, 64)


def noise_table() -> ModelSampling:
    return model_sampling({"schedule": SCHEDULE, "prediction": "eps"})


class Vae(nn.Module):
    """Encoder and decoder under the checkpoint's keys."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        whole_encoder, whole_decoder = VaeEncoder(config), VaeDecoder(config)
        self.encoder, self.quant_conv = whole_encoder.encoder, whole_encoder.quant_conv
        self.decoder, self.post_quant_conv = whole_decoder.decoder, whole_decoder.post_quant_conv

    def moments(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """picture: (B, 3, H, W) in [0, 1] -> mean and log variance, each (B, 4, H/8, W/8)."""
        mean, log_variance = self.quant_conv(self.encoder(picture * 2 - 1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, latent: Tensor) -> Tensor:
        """latent: (B, 4, h, w) unscaled -> (B, 3, 8h, 8w), about [0, 1], not clamped."""
        return (torch.as_tensor(self.decoder(self.post_quant_conv(latent))) + 1) / 2


class Diffusion(nn.Module):
    """Text encoder and U-Net, trained together."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.text, self.unet = ClipText(size.text), UNet(size.unet)
        self.width = size.text.width

    def context(self, tokens: Tensor, vectors: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """tokens: (B, 77) rows of the short table -> (B, 77, W). vectors, mask: textual inversion, as ClipText has."""
        if vectors is None or mask is None:
            vectors, mask = tokens.new_zeros(1, 1, 1).float(), tokens.new_zeros(1, 1, 1).float()
        hidden: Tensor = self.text(tokens, vectors, mask)[0]
        return hidden

    def forward(self, x: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        eps: Tensor = self.unet(x, timesteps, self.context(tokens))
        return eps


def initialise(model: nn.Module) -> None:
    """Linear and convolution weights by fan-in; the last layer of each residual branch at zero."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, parameter in model.named_parameters():
        if name.endswith("token_embedding.weight"):
            nn.init.normal_(parameter, std=0.3)
        elif name.endswith("position_embedding.weight"):
            nn.init.normal_(parameter, std=0.1)
        elif name.endswith(("out_layers.3.weight", "proj_out.weight", "unet.out.2.weight", ".conv2.weight")):
            nn.init.zeros_(parameter)
