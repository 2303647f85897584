"""SDXL and SDXL-Turbo: two text encoders side by side, and a vector of pooled text and sizes."""

from __future__ import annotations

from compiler.families.family import Family, Json, Latent, OpenFile, Place, Text, Vector
from compiler.families.parts import CLIP_G, CLIP_L, ENCODER_G, ENCODER_L, UNET_PLACE, VAE_PLACE

LATENT = Latent(scale=0.13025)
SIZES = ("height", "width", "crop_h", "crop_w", "target_height", "target_width")


def prediction(file: OpenFile) -> dict[str, Json]:
    """Files that predict velocity say so by a key "v_pred", and one "ztsnr" where their last step is pure noise."""
    if "v_pred" not in file.tensors:
        return {"prediction": "eps"}
    schedule = {"zero_terminal_snr": True} if "ztsnr" in file.tensors else {}
    return {"prediction": "v", "schedule": schedule}


SDXL = Family(
    name="sdxl",
    title="SDXL",
    # the pooled vector is of one of the two encoders, and so less wide than the text of both
    fits=lambda unet: len(unet.widths) == 3 and 0 < unet.vector_width - 256 * len(SIZES) < unet.context_width,
    places=(
        UNET_PLACE,
        VAE_PLACE,
        Place(CLIP_L, "conditioner.embedders.0.transformer."),
        Place(CLIP_G, "conditioner.embedders.1.model.", open_clip=True),
    ),
    text=Text((ENCODER_L, ENCODER_G), layer=-2, norm=False),
    latent=LATENT,
    vector=Vector(SIZES),
    prediction=prediction,
    side=1024,
)
