"""The kinds of part that the families' files are made of."""

from __future__ import annotations

from compiler.families.family import Encoder, Part, Place
from compiler.networks.controlnet import control_config
from compiler.networks.text import text_config
from compiler.networks.unet_config import unet_config
from compiler.networks.vae import vae_config

_TOKENS = "text_model.embeddings.token_embedding.weight"

UNET = Part("unet", "input_blocks.0.0.weight", unet_config, {"denoiser": "unet"})
VAE = Part(
    "vae", "decoder.conv_in.weight", vae_config, {"decoder": "vae_decoder", "encoder": "vae_encoder"},
    lacking={"vae_encoder": "encoder."},
)  # fmt: skip
CONTROLNET = Part(
    "controlnet", "zero_convs.0.0.weight", control_config, {"control": "controlnet", "control_hint": "controlnet_hint"}
)
CLIP_L, CLIP_G, CLIP_H = (Part(name, _TOKENS, text_config, {"text": name}) for name in ("clip_l", "clip_g", "clip_h"))

PARTS = {part.name: part for part in (UNET, VAE, CONTROLNET, CLIP_L, CLIP_G, CLIP_H)}

UNET_PLACE = Place(UNET, "model.diffusion_model.")
VAE_PLACE = Place(VAE, "first_stage_model.")

ENCODER_L = Encoder("clip_l")
ENCODER_H = Encoder("clip_h", activation="gelu", padding=0, pooled=True, lora_flat=("lora_te_",))
ENCODER_G = Encoder(
    "clip_g", activation="gelu", padding=0, pooled=True, lora_flat=("lora_te2_",), lora_dotted=("text_encoder_2.",)
)
