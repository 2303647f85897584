"""Rank-8 LoRAs of every attention and feed-forward weight, in kohya's names."""

from __future__ import annotations

from tests.parity.layouts.layout import Layout

# block, channels, attentions, side: Stable Diffusion 1 in diffusers' order of blocks
SD15_BLOCKS = (
    (0, 320, 2, "down"), (1, 640, 2, "down"), (2, 1280, 2, "down"),
    (1, 1280, 3, "up"), (2, 640, 3, "up"), (3, 320, 3, "up"),
)  # fmt: skip
# block, channels, transformer blocks: SDXL in the checkpoint's own order
SDXL_BLOCKS = (
    ("input_blocks_4", 640, 2), ("input_blocks_5", 640, 2), ("input_blocks_7", 1280, 10), ("input_blocks_8", 1280, 10),
    ("middle_block", 1280, 10),
    ("output_blocks_0", 1280, 10), ("output_blocks_1", 1280, 10), ("output_blocks_2", 1280, 10),
    ("output_blocks_3", 640, 2), ("output_blocks_4", 640, 2), ("output_blocks_5", 640, 2),
)  # fmt: skip


def lora_sd15(s: Layout) -> None:
    for block, c, count, side in SD15_BLOCKS:
        for a in range(count):
            _transformer(s, f"lora_unet_{side}_blocks_{block}_attentions_{a}_", c, 768, 1, linear=False)
    _transformer(s, "lora_unet_mid_block_attentions_0_", 1280, 768, 1, linear=False)
    _text(s, "lora_te", 768, 12, 3072)


def lora_sdxl(s: Layout) -> None:
    for block, c, depth in SDXL_BLOCKS:
        _transformer(s, f"lora_unet_{block}_1_", c, 2048, depth, linear=True)
    _text(s, "lora_te1", 768, 12, 3072)
    _text(s, "lora_te2", 1280, 32, 5120)


def _transformer(s: Layout, p: str, c: int, context: int, depth: int, *, linear: bool) -> None:
    for name in ("proj_in", "proj_out"):
        _pair(s, p + name, c, c, kernel=() if linear else (1, 1))
    for d in range(depth):
        q = f"{p}transformer_blocks_{d}_"
        for name, n_context in (("attn1", c), ("attn2", context)):
            _pair(s, f"{q}{name}_to_q", c, c)
            _pair(s, f"{q}{name}_to_k", n_context, c)
            _pair(s, f"{q}{name}_to_v", n_context, c)
            _pair(s, f"{q}{name}_to_out_0", c, c)
        _pair(s, q + "ff_net_0_proj", c, 8 * c)
        _pair(s, q + "ff_net_2", 4 * c, c)


def _text(s: Layout, p: str, width: int, layers: int, mlp: int) -> None:
    for i in range(layers):
        q = f"{p}_text_model_encoder_layers_{i}_"
        for name in ("q", "k", "v", "out"):
            _pair(s, f"{q}self_attn_{name}_proj", width, width)
        _pair(s, q + "mlp_fc1", width, mlp)
        _pair(s, q + "mlp_fc2", mlp, width)


def _pair(s: Layout, name: str, n_in: int, n_out: int, kernel: tuple[int, ...] = ()) -> None:
    s.weight(name + ".lora_down.weight", (8, n_in, *kernel))
    s.weight(name + ".lora_up.weight", (n_out, 8, *kernel), 0.3, fan=1)
    s.constant(name + ".alpha", 4.0)
