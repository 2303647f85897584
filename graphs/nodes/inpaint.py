"""Sampling inside a mask only: LATENTs that carry one."""

from __future__ import annotations

from dataclasses import replace

from graphs.definition import Builder, NodeDef
from graphs.node import Input, Node, Output


def _lower_set_mask(node: Node, b: Builder) -> None:
    (latent,) = b.emit("set_noise_mask", {"latent": b.operand("samples"), "mask": b.operand("mask")})
    b.output(0, latent)


SET_LATENT_NOISE_MASK = NodeDef(
    class_type="SetLatentNoiseMask",
    display_name="Set Latent Noise Mask",
    category="latent/inpaint",
    inputs=(Input("samples", "LATENT"), Input("mask", "MASK")),
    outputs=(Output("LATENT", "LATENT"),),
    lower=_lower_set_mask,
)


def _lower_encode(node: Node, b: Builder) -> None:
    pixels = {"image": b.operand("pixels"), "mask": b.operand("mask"), "grow": b.operand("grow_mask_by")}
    image, mask = b.emit("grey_out", pixels)
    network = b.network("vae_encoder", b.vae().weights)
    (latent,) = b.emit("encode_image", {"image": image}, networks={"vae_encoder": network})
    (masked,) = b.emit("set_noise_mask", {"latent": latent, "mask": mask})
    b.output(0, masked)


VAE_ENCODE_FOR_INPAINT = NodeDef(
    class_type="VAEEncodeForInpaint",
    display_name="VAE Encode (for Inpainting)",
    category="latent/inpaint",
    inputs=(
        Input("pixels", "IMAGE"),
        Input("vae", "VAE"),
        Input("mask", "MASK"),
        Input("grow_mask_by", "INT", default=6, min=0, max=64, step=1),
    ),
    outputs=(Output("LATENT", "LATENT"),),
    lower=_lower_encode,
)


def _lower_differential(node: Node, b: Builder) -> None:
    b.output(0, replace(b.model(), differential=b.operand("strength")))


DIFFERENTIAL_DIFFUSION = NodeDef(
    class_type="DifferentialDiffusion",
    display_name="Differential Diffusion",
    category="_for_testing",
    inputs=(
        Input("model", "MODEL"),
        Input("strength", "FLOAT", required=False, default=1.0, min=0.0, max=1.0, step=0.01),
    ),
    outputs=(Output("MODEL", "MODEL"),),
    lower=_lower_differential,
)
