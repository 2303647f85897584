"""Short ways to write UI JSON in tests."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from graphs.graph import Graph
from graphs.workflow import parse_ui, to_api

Json = Any

SAMPLER_VALUES = [7, "fixed", 20, 8.0, "euler", "normal", 1.0]
CHECKPOINT_OUTPUTS = ["MODEL", "CLIP", "VAE"]


def node(
    id: Json,
    type: str,
    inputs: list[Json] | None = None,
    outputs: list[str] | None = None,
    values: Json = None,
    **more: Json,
) -> dict[str, Json]:
    """A UI node. inputs: "name:TYPE", ("name:TYPE", link id) or ("name:TYPE", link id, widget name)."""
    slots = []
    for item in inputs or []:
        text, link, widget = (*item, None, None)[:3] if isinstance(item, tuple) else (item, None, None)
        name, _, kind = text.partition(":")
        slot: dict[str, Json] = {"name": name, "type": kind, "link": link}
        if widget is not None:
            slot["widget"] = {"name": widget}
        slots.append(slot)
    entry: dict[str, Json] = {"id": id, "type": type, "mode": 0, "inputs": slots, "properties": {}}
    entry["outputs"] = [{"name": kind, "type": kind, "links": []} for kind in outputs or []]
    if values is not None:
        entry["widgets_values"] = values
    return {**entry, **more}


def ui(nodes: list[Json], links: list[Json], **more: Json) -> dict[str, Json]:
    """A UI file. links: [id, source, slot, target, slot, type]."""
    return {"nodes": nodes, "links": links, "version": 0.4, **more}


def convert(nodes: list[Json], links: list[Json], **more: Json) -> dict[str, dict[str, Json]]:
    """Node id -> inputs of the API form."""
    return inputs_of(parse_ui(ui(nodes, links, **more)))


def inputs_of(graph: Graph) -> dict[str, dict[str, Json]]:
    return {node_id: entry["inputs"] for node_id, entry in to_api(graph).items()}


def loader(id: Json = 1) -> dict[str, Json]:
    return node(id, "CheckpointLoaderSimple", [], CHECKPOINT_OUTPUTS, ["a.safetensors"])


def text(id: Json, clip_link: Json, words: str = "a cat", **more: Json) -> dict[str, Json]:
    return node(id, "CLIPTextEncode", [("clip:CLIP", clip_link)], ["CONDITIONING"], [words], **more)


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A 1 by 1 grey PNG with these chunks before its pixels."""
    size = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    every = [(b"IHDR", size), *chunks, (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in every
    )


def webp(tags: list[tuple[int, bytes]], order: str = "<", prefix: bytes = b"") -> bytes:
    """A WebP container with an EXIF block of ASCII tags and no picture."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    entries, texts = b"", b""
    at = 8 + 2 + 12 * len(tags) + 4
    for tag, value in tags:
        entries += struct.pack(order + "HHII", tag, 2, len(value), at + len(texts))
        texts += value
    exif = prefix + head + struct.pack(order + "H", len(tags)) + entries + b"\0\0\0\0" + texts
    chunk = b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
