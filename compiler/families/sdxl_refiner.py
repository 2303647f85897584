"""The refiner of SDXL: the larger of its text encoders alone, and an aesthetic score in the vector."""

from __future__ import annotations

from dataclasses import replace

from compiler.families.family import Family, Place, Text, Vector
from compiler.families.parts import CLIP_G, ENCODER_G, UNET_PLACE, VAE_PLACE
from compiler.families.sdxl import LATENT

NUMBERS = ("height", "width", "crop_h", "crop_w", "ascore")
ENCODER = replace(ENCODER_G, lora_flat=("lora_te_",), lora_dotted=("text_encoder.",))

SDXL_REFINER = Family(
    name="sdxl_refiner",
    title="the SDXL refiner",
    fits=lambda unet: bool(unet.vector_width) and unet.vector_width - 256 * len(NUMBERS) == unet.context_width,
    places=(UNET_PLACE, VAE_PLACE, Place(CLIP_G, "conditioner.embedders.0.model.", open_clip=True)),
    text=Text((ENCODER,), layer=-2, norm=False),
    latent=LATENT,
    vector=Vector(NUMBERS),
    side=1024,
)
