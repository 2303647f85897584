"""Between LATENT and IMAGE."""

from __future__ import annotations

from graphs.definition import Builder
from graphs.node import Node
from graphs.rows import compiled
from graphs.values import VaeValue


def _lower_decode(node: Node, b: Builder) -> None:
    network = b.network("decoder", b.take("vae", VaeValue).weights)
    (image,) = b.emit("decode_latent", {"latent": b.operand("samples")}, networks={"vae_decoder": network})
    b.output(0, image)


def _lower_encode(node: Node, b: Builder) -> None:
    network = b.network("encoder", b.take("vae", VaeValue).weights)
    (latent,) = b.emit("encode_image", {"image": b.operand("pixels")}, networks={"vae_encoder": network})
    b.output(0, latent)


ROWS = (
    compiled("VAEDecode", _lower_decode),
    compiled("VAEEncode", _lower_encode),
)
