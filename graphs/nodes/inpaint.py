"""Sampling inside a mask only: LATENTs that carry one."""

from __future__ import annotations

from dataclasses import replace

from graphs.definition import Builder
from graphs.node import Node
from graphs.rows import compiled, op
from graphs.values import ModelPatch, ModelValue, VaeValue


def _lower_encode(node: Node, b: Builder) -> None:
    pixels = {"image": b.operand("pixels"), "mask": b.operand("mask"), "grow": b.operand("grow_mask_by")}
    image, mask = b.emit("grey_out", pixels)
    network = b.network("encoder", b.take("vae", VaeValue).weights)
    (latent,) = b.emit("encode_image", {"image": image}, networks={"vae_encoder": network})
    (masked,) = b.emit("set_noise_mask", {"latent": latent, "mask": mask})
    b.output(0, masked)


def _lower_differential(node: Node, b: Builder) -> None:
    model = b.take("model", ModelValue)
    patch = ModelPatch("differential_diffusion", (b.operand("strength"),))
    b.output(0, replace(model, patches=(*model.patches, patch)))


ROWS = (
    compiled("DifferentialDiffusion", _lower_differential),
    op("SetLatentNoiseMask", "set_noise_mask", samples="latent"),
    compiled("VAEEncodeForInpaint", _lower_encode),
)
