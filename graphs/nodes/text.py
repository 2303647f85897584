"""Text prompts: CLIP and CONDITIONING."""

from __future__ import annotations

from dataclasses import replace

from graphs.definition import Builder, NodeDef
from graphs.node import Input, Node, Output
from graphs.values import CondEntry, Conditioning


def _lower_text_encode(node: Node, b: Builder) -> None:
    clip = b.clip()
    options = {} if clip.stop_layer is None else {"stop_layer": clip.stop_layer}
    network = b.network("clip_text", clip.weights, **options)
    embedding, pooled = b.emit("encode_text", {"text": b.operand("text")}, networks={"clip": network})
    b.output(0, Conditioning((CondEntry(embedding, pooled),)))


CLIP_TEXT_ENCODE = NodeDef(
    class_type="CLIPTextEncode",
    display_name="CLIP Text Encode (Prompt)",
    category="conditioning",
    inputs=(Input("text", "STRING", multiline=True, dynamic_prompts=True), Input("clip", "CLIP")),
    outputs=(Output("CONDITIONING", "CONDITIONING"),),
    lower=_lower_text_encode,
)


def _lower_set_last_layer(node: Node, b: Builder) -> None:
    b.output(0, replace(b.clip(), stop_layer=b.constant("stop_at_clip_layer")))


CLIP_SET_LAST_LAYER = NodeDef(
    class_type="CLIPSetLastLayer",
    display_name="CLIP Set Last Layer",
    category="conditioning",
    inputs=(Input("clip", "CLIP"), Input("stop_at_clip_layer", "INT", default=-1, min=-24, max=-1, step=1)),
    outputs=(Output("CLIP", "CLIP"),),
    lower=_lower_set_last_layer,
)
