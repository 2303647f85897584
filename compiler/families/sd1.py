"""Stable Diffusion 1.x, inpainting and InstructPix2Pix models of it."""

from __future__ import annotations

from compiler.families.family import Family, Latent, Place, Text
from compiler.families.parts import CLIP_L, ENCODER_L, UNET_PLACE, VAE_PLACE

SD1 = Family(
    name="sd15",
    title="Stable Diffusion 1",
    fits=lambda unet: not unet.linear_projection and not unet.vector_width,
    places=(
        UNET_PLACE,
        VAE_PLACE,
        Place(CLIP_L, "cond_stage_model.transformer."),
        Place(CLIP_L, "cond_stage_model.transformer.", inside="text_model."),  # made with an early transformers
        Place(CLIP_L, "cond_stage_model."),
    ),
    text=Text((ENCODER_L,)),
    latent=Latent(scale=0.18215),
    heads=8,
)
