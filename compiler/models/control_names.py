"""ControlNets in the layout of diffusers: which key of the original layout each of their keys is.

Source: the key layouts of the published files; both hold the same tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from compiler.models.source import Source

MARK = "controlnet_cond_embedding.conv_in.weight"

_FIXED = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "mid_block.attentions.0": "middle_block.1",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14",
}
# Inside a res block.
_RES = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_DOWN = re.compile(r"down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)\.(.+)$")
_MIDDLE = re.compile(r"mid_block\.resnets\.(\d+)\.(.+)$")
_ZERO = re.compile(r"controlnet_down_blocks\.(\d+)\.(.+)$")
_HINT = re.compile(r"controlnet_cond_embedding\.blocks\.(\d+)\.(.+)$")


def original_names(keys: Iterable[str]) -> dict[str, Source]:
    """Key of the original layout -> where it stands. What belongs to neither keeps its name, and is reported later."""
    listed = list(keys)
    counts: dict[int, int] = {}  # res blocks by level
    for key in listed:
        if (found := _DOWN.match(key)) and found[2] == "resnets":
            counts[int(found[1])] = max(counts.get(int(found[1]), 0), int(found[3]) + 1)
    starts: dict[int, int] = {}
    place = 1
    for level in sorted(counts):
        starts[level] = place
        place += counts[level] + 1  # and the downsample
    return {_original(key, starts, counts): Source(key) for key in listed}


def _original(key: str, starts: dict[int, int], counts: dict[int, int]) -> str:
    for name, original in _FIXED.items():
        if key.startswith(f"{name}."):
            return original + key.removeprefix(name)
    if found := _ZERO.match(key):
        return f"zero_convs.{found[1]}.0.{found[2]}"
    if found := _HINT.match(key):
        return f"input_hint_block.{2 * int(found[1]) + 2}.{found[2]}"
    if found := _MIDDLE.match(key):
        return f"middle_block.{2 * int(found[1])}.{_inside(found[2])}"
    if (found := _DOWN.match(key)) and (level := int(found[1])) in starts:
        kind, number, rest = found[2], int(found[3]), found[4]
        if kind == "downsamplers":
            return f"input_blocks.{starts[level] + counts[level]}.0.{rest.replace('conv.', 'op.', 1)}"
        block = f"input_blocks.{starts[level] + number}"
        return f"{block}.1.{rest}" if kind == "attentions" else f"{block}.0.{_inside(rest)}"
    return key


def _inside(rest: str) -> str:
    name, _, suffix = rest.partition(".")
    return f"{_RES.get(name, name)}.{suffix}"
