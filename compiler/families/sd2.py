"""Stable Diffusion 2.x and SD-Turbo."""

from __future__ import annotations

from compiler.families.family import Family, Json, Latent, OpenFile, Place, Text
from compiler.families.parts import CLIP_H, ENCODER_H, UNET_PLACE, VAE_PLACE

V_MARK = "output_blocks.11.1.transformer_blocks.0.norm1.bias"
V_DEVIATION = 0.09


def prediction(file: OpenFile) -> dict[str, Json]:
    """No file says whether it predicts noise or velocity; the spread of one bias tells the published ones apart.

    Source: the observed behaviour of ComfyUI.
    """
    shapes = file.shapes("unet").shapes
    if V_MARK not in shapes or shapes["input_blocks.0.0.weight"][1] != 4:
        return {"prediction": "eps"}
    spread = float(file.tensor("unet", V_MARK).float().std(unbiased=False))
    return {"prediction": "v" if spread > V_DEVIATION else "eps"}


SD2 = Family(
    name="sd2",
    title="Stable Diffusion 2",
    fits=lambda unet: unet.linear_projection and not unet.vector_width,
    places=(UNET_PLACE, VAE_PLACE, Place(CLIP_H, "cond_stage_model.model.", open_clip=True)),
    text=Text((ENCODER_H,), layer=-2),
    latent=Latent(scale=0.18215),
    prediction=prediction,
)
