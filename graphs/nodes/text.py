"""Text prompts: CLIP and CONDITIONING."""

from __future__ import annotations

from dataclasses import replace

from graphs.definition import Builder
from graphs.node import Node
from graphs.rows import compiled
from graphs.values import ClipValue, CondEntry, Conditioning


def _lower_text_encode(node: Node, b: Builder) -> None:
    clip = b.take("clip", ClipValue)
    options = {} if clip.stop_layer is None else {"stop_layer": clip.stop_layer}
    network = b.network("clip_text", clip.weights, **options)
    embedding, pooled = b.emit("encode_text", {"text": b.operand("text")}, networks={"clip": network})
    b.output(0, Conditioning((CondEntry(embedding, pooled),)))


def _lower_set_last_layer(node: Node, b: Builder) -> None:
    b.output(0, replace(b.take("clip", ClipValue), stop_layer=b.constant("stop_at_clip_layer")))


ROWS = (
    compiled("CLIPSetLastLayer", _lower_set_last_layer),
    compiled("CLIPTextEncode", _lower_text_encode),
)
