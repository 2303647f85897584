"""Conditionings that show the model a picture beside the latent: inpainting models and InstructPix2Pix."""

from __future__ import annotations

from dataclasses import replace

from graphs.definition import Builder
from graphs.node import Node
from graphs.operands import Literal, Operand
from graphs.rows import compiled
from graphs.values import ConcatUse, Conditioning, VaeValue


def _encode(b: Builder, pixels: Operand) -> Operand:
    network = b.network("encoder", b.take("vae", VaeValue).weights)
    (latent,) = b.emit("encode_image", {"image": pixels}, networks={"vae_encoder": network})
    return latent


def _show(b: Builder, concat: ConcatUse) -> None:
    """Both conditionings, every entry of which shows the picture."""
    for slot, name in enumerate(("positive", "negative")):
        entries = b.take(name, Conditioning).entries
        b.output(slot, Conditioning(tuple(replace(entry, concat=concat) for entry in entries)))


def _lower_inpaint(node: Node, b: Builder) -> None:
    pixels = {"image": b.operand("pixels"), "mask": b.operand("mask"), "grow": Literal(0)}
    greyed, mask = b.emit("grey_out", pixels, attrs={"soft": True})
    _show(b, ConcatUse(_encode(b, greyed), mask))
    latent = _encode(b, b.operand("pixels"))
    if b.constant("noise_mask"):
        (latent,) = b.emit("set_noise_mask", {"latent": latent, "mask": mask})
    b.output(2, latent)


def _lower_instruct(node: Node, b: Builder) -> None:
    shown = _encode(b, b.operand("pixels"))
    _show(b, ConcatUse(shown))
    (blank,) = b.emit("blank_latent", {"latent": shown})
    b.output(2, blank)


ROWS = (
    compiled("InpaintModelConditioning", _lower_inpaint),
    compiled("InstructPixToPixConditioning", _lower_instruct),
)
