"""Between LATENT and IMAGE."""

from __future__ import annotations

from graphs.definition import Builder, NodeDef
from graphs.node import Input, Node, Output


def _lower_decode(node: Node, b: Builder) -> None:
    network = b.network("vae_decoder", b.vae().weights)
    (image,) = b.emit("decode_latent", {"latent": b.operand("samples")}, networks={"vae_decoder": network})
    b.output(0, image)


VAE_DECODE = NodeDef(
    class_type="VAEDecode",
    display_name="VAE Decode",
    category="latent",
    inputs=(Input("samples", "LATENT"), Input("vae", "VAE")),
    outputs=(Output("IMAGE", "IMAGE"),),
    lower=_lower_decode,
)


def _lower_encode(node: Node, b: Builder) -> None:
    network = b.network("vae_encoder", b.vae().weights)
    (latent,) = b.emit("encode_image", {"image": b.operand("pixels")}, networks={"vae_encoder": network})
    b.output(0, latent)


VAE_ENCODE = NodeDef(
    class_type="VAEEncode",
    display_name="VAE Encode",
    category="latent",
    inputs=(Input("pixels", "IMAGE"), Input("vae", "VAE")),
    outputs=(Output("LATENT", "LATENT"),),
    lower=_lower_encode,
)
