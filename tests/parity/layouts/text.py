"""Keys of the CLIP text encoders, in the names of transformers and of open_clip, and of textual inversions."""

from __future__ import annotations

from tests.parity.layouts.layout import Draw, Layout

VOCABULARY, POSITIONS = 49408, 77


def clip(s: Layout, p: str, width: int, layers: int, mlp: int, projection: int = 0, position_ids: bool = True) -> None:
    """In transformers' names."""
    if position_ids:
        s.tensors[p + "text_model.embeddings.position_ids"] = Draw((1, POSITIONS), None, dtype="I64")
    s.weight(p + "text_model.embeddings.token_embedding.weight", (VOCABULARY, width), fan=1)
    s.weight(p + "text_model.embeddings.position_embedding.weight", (POSITIONS, width), 0.5, fan=1)
    for i in range(layers):
        q = f"{p}text_model.encoder.layers.{i}."
        for name in "qkv":
            s.linear(f"{q}self_attn.{name}_proj", width, width)
        s.linear(q + "self_attn.out_proj", width, width, gain=0.3)
        s.norm(q + "layer_norm1", width)
        s.norm(q + "layer_norm2", width)
        s.linear(q + "mlp.fc1", width, mlp)
        s.linear(q + "mlp.fc2", mlp, width, gain=0.3)
    s.norm(p + "text_model.final_layer_norm", width)
    if projection:
        s.linear(p + "text_projection", width, projection, bias=False)


def open_clip(s: Layout, p: str, width: int, layers: int) -> None:
    """In open_clip's names: q, k and v in one matrix."""
    s.weight(p + "token_embedding.weight", (VOCABULARY, width), fan=1)
    s.weight(p + "positional_embedding", (POSITIONS, width), 0.5, fan=1)
    for i in range(layers):
        q = f"{p}transformer.resblocks.{i}."
        s.weight(q + "attn.in_proj_weight", (3 * width, width))
        s.bias(q + "attn.in_proj_bias", 3 * width)
        s.linear(q + "attn.out_proj", width, width, gain=0.3)
        s.norm(q + "ln_1", width)
        s.norm(q + "ln_2", width)
        s.linear(q + "mlp.c_fc", width, 4 * width)
        s.linear(q + "mlp.c_proj", 4 * width, width, gain=0.3)
    s.norm(p + "ln_final", width)
    s.weight(p + "text_projection", (width, width))
    s.constant(p + "logit_scale", 4.6052)


def embedding(s: Layout, **vectors: tuple[int, int]) -> None:
    """A textual inversion. vectors: by key, (tokens, width)."""
    for key, shape in vectors.items():
        s.weight(key, shape, fan=1)
