"""Text encoders in the layout of open_clip: which of their tensors, or which third of one, each key of the layout of
transformers is.

Source: the key layouts of the published files; both hold the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from compiler.models.source import Source

OPEN_CLIP_MARK = "token_embedding.weight"
_FIXED = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_INSIDE = {
    "attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)$")


_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$")
_BACK = {theirs: ours for ours, theirs in (*_FIXED.items(), *_INSIDE.items())}


def open_clip_key(key: str) -> Source:
    """The inverse of transformers_names for one key: where a file without a prefix has it."""
    if key == "text_projection.weight":
        return Source("text_projection", transposed=True)
    if found := _LAYER.match(key):
        block = f"transformer.resblocks.{found[1]}"
        if found[2].startswith("self_attn.") and found[2].removeprefix("self_attn.")[0] in "qkv":
            return Source(f"{block}.attn.in_proj_{found[3]}", "qkv".index(found[2].removeprefix("self_attn.")[0]))
        return Source(f"{block}.{_BACK[found[2]]}.{found[3]}")
    return Source(_BACK[key])


def transformers_names(keys: Iterable[str], prefix: str) -> dict[str, Source]:
    """Key of the layout of transformers -> where it stands. Keys of neither layout keep their names, and are reported
    later. keys: of the file, those behind the prefix count."""
    names: dict[str, Source] = {}
    for key in keys:
        if not key.startswith(prefix):
            continue
        inner = key.removeprefix(prefix)
        if inner == "text_projection":
            names["text_projection.weight"] = Source(key, transposed=True)
        elif found := _BLOCK.match(inner):
            layer = f"text_model.encoder.layers.{found[1]}"
            if found[2] == "attn.in_proj":
                for third, name in enumerate("qkv"):
                    names[f"{layer}.self_attn.{name}_proj.{found[3]}"] = Source(key, third)
            else:
                names[f"{layer}.{_INSIDE.get(found[2], found[2])}.{found[3]}"] = Source(key)
        else:
            names[_FIXED.get(inner, inner)] = Source(key)
    return names
