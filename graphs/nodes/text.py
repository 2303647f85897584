"""Text prompts: CLIP and CONDITIONING."""

from __future__ import annotations

from dataclasses import replace

from graphs.definition import Builder
from graphs.node import Node
from graphs.operands import Operand
from graphs.rows import compiled
from graphs.values import ClipValue, CondEntry, Conditioning

_SIZES = ("width", "height", "crop_w", "crop_h", "target_width", "target_height")


def _encoded(b: Builder, text: Operand, text_l: Operand | None = None) -> CondEntry:
    """text_l: the prompt of the first of two encoders where it has one of its own."""
    clip = b.take("clip", ClipValue)
    options = {} if clip.stop_layer is None else {"stop_layer": clip.stop_layer}
    networks = {f"text.{n}": b.network("text", weights, **options) for n, weights in enumerate(clip.weights)}
    inputs = {"text": text} if text_l is None else {"text": text, "text_l": text_l}
    embedding, pooled = b.emit("encode_text", inputs, networks=networks)
    return CondEntry(embedding, pooled)


def _lower_text_encode(node: Node, b: Builder) -> None:
    b.output(0, Conditioning((_encoded(b, b.operand("text")),)))


def _lower_sdxl(node: Node, b: Builder) -> None:
    entry = _encoded(b, b.operand("text_g"), b.operand("text_l"))
    (sizes,) = b.emit("text_sizes", {name: b.operand(name) for name in _SIZES})
    b.output(0, Conditioning((replace(entry, sizes=sizes),)))


def _lower_refiner(node: Node, b: Builder) -> None:
    entry = _encoded(b, b.operand("text"))
    (sizes,) = b.emit("text_sizes", {name: b.operand(name) for name in ("width", "height", "ascore")})
    b.output(0, Conditioning((replace(entry, sizes=sizes),)))


def _lower_set_last_layer(node: Node, b: Builder) -> None:
    b.output(0, replace(b.take("clip", ClipValue), stop_layer=b.constant("stop_at_clip_layer")))


ROWS = (
    compiled("CLIPSetLastLayer", _lower_set_last_layer),
    compiled("CLIPTextEncode", _lower_text_encode),
    compiled("CLIPTextEncodeSDXL", _lower_sdxl),
    compiled("CLIPTextEncodeSDXLRefiner", _lower_refiner),
)
