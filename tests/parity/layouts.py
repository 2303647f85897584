"""Keys, shapes and scales of the Stable Diffusion 1.5 files that the parity cases use, in their original layouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

MULTIPLIERS = (1, 2, 4, 4)
ATTENTION_DEPTH = (1, 1, 1, 0)
CHANNELS, EMBED, CONTEXT = 320, 1280, 768


@dataclass(frozen=True)
class Draw:
    """How one tensor is drawn: near-normal of this scale around offset; scale None counts 0, 1, 2 ..."""

    shape: tuple[int, ...]
    scale: float | None
    offset: float = 0.0
    dtype: str = "F16"


@dataclass
class Layout:
    """The tensors of one file by key."""

    tensors: dict[str, Draw] = field(default_factory=dict)

    def weight(self, key: str, shape: tuple[int, ...], gain: float = 1.0, fan: int | None = None) -> None:
        self.tensors[key] = Draw(shape, gain / math.sqrt(fan or int(np.prod(shape[1:]))))

    def norm(self, prefix: str, n: int) -> None:
        self.tensors[prefix + ".weight"] = Draw((n,), 0.1, 1.0)
        self.tensors[prefix + ".bias"] = Draw((n,), 0.05)

    def linear(self, prefix: str, n_in: int, n_out: int, gain: float = 1.0, bias: bool = True) -> None:
        self.weight(prefix + ".weight", (n_out, n_in), gain)
        if bias:
            self.tensors[prefix + ".bias"] = Draw((n_out,), 0.02)

    def conv(self, prefix: str, n_in: int, n_out: int, kernel: int = 3, gain: float = 1.0) -> None:
        self.weight(prefix + ".weight", (n_out, n_in, kernel, kernel), gain)
        self.tensors[prefix + ".bias"] = Draw((n_out,), 0.02)


def checkpoint(s: Layout) -> None:
    unet(s, "model.diffusion_model.")
    vae(s, "first_stage_model.")
    clip(s, "cond_stage_model.transformer.", CONTEXT, 12, 3072)


def unet(s: Layout, p: str) -> None:
    skips, c = _encoder(s, p)
    n = 0
    for level in (3, 2, 1, 0):
        for i in range(3):
            _residual(s, f"{p}output_blocks.{n}.0.", c + skips.pop(), MULTIPLIERS[level] * CHANNELS)
            c = MULTIPLIERS[level] * CHANNELS
            if ATTENTION_DEPTH[level]:
                _attention(s, f"{p}output_blocks.{n}.1.", c)
            if level and i == 2:
                s.conv(f"{p}output_blocks.{n}.{2 if ATTENTION_DEPTH[level] else 1}.conv", c, c)
            n += 1
    s.norm(p + "out.0", CHANNELS)
    s.conv(p + "out.2", CHANNELS, 4, gain=0.3)


def _encoder(s: Layout, p: str) -> tuple[list[int], int]:
    """Input blocks and middle; gives the channels of the skip connections and of the middle."""
    s.linear(p + "time_embed.0", CHANNELS, EMBED)
    s.linear(p + "time_embed.2", EMBED, EMBED)
    s.conv(p + "input_blocks.0.0", 4, CHANNELS)
    skips, c, n = [CHANNELS], CHANNELS, 1
    for level, m in enumerate(MULTIPLIERS):
        for _ in range(2):
            _residual(s, f"{p}input_blocks.{n}.0.", c, m * CHANNELS)
            c = m * CHANNELS
            if ATTENTION_DEPTH[level]:
                _attention(s, f"{p}input_blocks.{n}.1.", c)
            skips.append(c)
            n += 1
        if level < 3:
            s.conv(f"{p}input_blocks.{n}.0.op", c, c)
            skips.append(c)
            n += 1
    _residual(s, p + "middle_block.0.", c, c)
    _attention(s, p + "middle_block.1.", c)
    _residual(s, p + "middle_block.2.", c, c)
    return skips, c


def control(s: Layout) -> None:
    """A ControlNet under its bare keys, as the published safetensors have it."""
    skips, c = _encoder(s, "")
    for i, width in enumerate(skips):
        s.conv(f"zero_convs.{i}.0", width, width, 1, gain=0.2)
    s.conv("middle_block_out.0", c, c, 1, gain=0.2)
    widths = (3, 16, 16, 32, 32, 96, 96, 256, CHANNELS)
    for i in range(8):
        s.conv(f"input_hint_block.{2 * i}", widths[i], widths[i + 1], gain=1.6 if i < 7 else 0.3)


def _residual(s: Layout, p: str, n_in: int, n_out: int) -> None:
    s.norm(p + "in_layers.0", n_in)
    s.conv(p + "in_layers.2", n_in, n_out)
    s.linear(p + "emb_layers.1", EMBED, n_out)
    s.norm(p + "out_layers.0", n_out)
    s.conv(p + "out_layers.3", n_out, n_out, gain=0.3)
    if n_in != n_out:
        s.conv(p + "skip_connection", n_in, n_out, 1)


def _attention(s: Layout, p: str, c: int) -> None:
    s.norm(p + "norm", c)
    s.conv(p + "proj_in", c, c, 1)
    q = p + "transformer_blocks.0."
    for name, n_context in (("attn1", c), ("attn2", CONTEXT)):
        s.linear(f"{q}{name}.to_q", c, c, bias=False)
        s.linear(f"{q}{name}.to_k", n_context, c, bias=False)
        s.linear(f"{q}{name}.to_v", n_context, c, bias=False)
        s.linear(f"{q}{name}.to_out.0", c, c, gain=0.5)
    s.linear(q + "ff.net.0.proj", c, 8 * c)
    s.linear(q + "ff.net.2", 4 * c, c, gain=0.5)
    for n in (1, 2, 3):
        s.norm(f"{q}norm{n}", c)
    s.conv(p + "proj_out", c, c, 1, gain=0.3)


def clip(s: Layout, p: str, width: int, layers: int, mlp: int) -> None:
    s.tensors[p + "text_model.embeddings.position_ids"] = Draw((1, 77), None, dtype="I64")
    s.weight(p + "text_model.embeddings.token_embedding.weight", (49408, width), fan=1)
    s.weight(p + "text_model.embeddings.position_embedding.weight", (77, width), 0.5, fan=1)
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


def vae(s: Layout, p: str) -> None:
    widths, c = (128, 256, 512, 512), 128
    s.conv(p + "encoder.conv_in", 3, 128)
    for level in range(4):
        for b in range(2):
            _vae_block(s, f"{p}encoder.down.{level}.block.{b}.", c, widths[level])
            c = widths[level]
        if level < 3:
            s.conv(f"{p}encoder.down.{level}.downsample.conv", c, c)
    _vae_middle(s, p + "encoder.mid.")
    s.norm(p + "encoder.norm_out", 512)
    s.conv(p + "encoder.conv_out", 512, 8, gain=8)
    s.conv(p + "decoder.conv_in", 4, 512)
    _vae_middle(s, p + "decoder.mid.")
    c = 512
    for level in (3, 2, 1, 0):
        for b in range(3):
            _vae_block(s, f"{p}decoder.up.{level}.block.{b}.", c, widths[level])
            c = widths[level]
        if level:
            s.conv(f"{p}decoder.up.{level}.upsample.conv", c, c)
    s.norm(p + "decoder.norm_out", 128)
    s.conv(p + "decoder.conv_out", 128, 3, gain=0.6)
    s.conv(p + "quant_conv", 8, 8, 1)
    s.conv(p + "post_quant_conv", 4, 4, 1)


def _vae_block(s: Layout, p: str, n_in: int, n_out: int) -> None:
    s.norm(p + "norm1", n_in)
    s.conv(p + "conv1", n_in, n_out)
    s.norm(p + "norm2", n_out)
    s.conv(p + "conv2", n_out, n_out, gain=0.3)
    if n_in != n_out:
        s.conv(p + "nin_shortcut", n_in, n_out, 1)


def _vae_middle(s: Layout, p: str) -> None:
    _vae_block(s, p + "block_1.", 512, 512)
    _vae_block(s, p + "block_2.", 512, 512)
    s.norm(p + "attn_1.norm", 512)
    for name in "qkv":
        s.conv(f"{p}attn_1.{name}", 512, 512, 1)
    s.conv(p + "attn_1.proj_out", 512, 512, 1, gain=0.3)


def lora(s: Layout) -> None:
    """A rank-8 LoRA of every attention and feed-forward weight, in the kohya naming."""
    blocks = (
        (0, 320, 2, "down"),
        (1, 640, 2, "down"),
        (2, 1280, 2, "down"),
        (1, 1280, 3, "up"),
        (2, 640, 3, "up"),
        (3, 320, 3, "up"),
    )
    for block, c, count, side in blocks:
        for a in range(count):
            _lora_attention(s, f"lora_unet_{side}_blocks_{block}_attentions_{a}_", c)
    _lora_attention(s, "lora_unet_mid_block_attentions_0_", 1280)
    for i in range(12):
        q = f"lora_te_text_model_encoder_layers_{i}_"
        for name in ("q", "k", "v", "out"):
            _lora_pair(s, f"{q}self_attn_{name}_proj", 768, 768)
        _lora_pair(s, q + "mlp_fc1", 768, 3072)
        _lora_pair(s, q + "mlp_fc2", 3072, 768)


def _lora_attention(s: Layout, p: str, c: int) -> None:
    for name in ("proj_in", "proj_out"):
        _lora_pair(s, p + name, c, c, kernel=(1, 1))
    q = p + "transformer_blocks_0_"
    for name, n_context in (("attn1", c), ("attn2", CONTEXT)):
        _lora_pair(s, f"{q}{name}_to_q", c, c)
        _lora_pair(s, f"{q}{name}_to_k", n_context, c)
        _lora_pair(s, f"{q}{name}_to_v", n_context, c)
        _lora_pair(s, f"{q}{name}_to_out_0", c, c)
    _lora_pair(s, q + "ff_net_0_proj", c, 8 * c)
    _lora_pair(s, q + "ff_net_2", 4 * c, c)


def _lora_pair(s: Layout, name: str, n_in: int, n_out: int, kernel: tuple[int, ...] = ()) -> None:
    s.weight(name + ".lora_down.weight", (8, n_in, *kernel))
    s.weight(name + ".lora_up.weight", (n_out, 8, *kernel), 0.3, fan=1)
    s.tensors[name + ".alpha"] = Draw((), 0.0, 4.0)


def embedding(s: Layout, key: str, tokens: int) -> None:
    s.weight(key, (tokens, CONTEXT), fan=1)


@dataclass(frozen=True)
class File:
    """One file: the tag its streams are keyed by, and its layout. sha256: of the bytes it must come out as."""

    tag: str
    build: Callable[[Layout], None]
    sha256: str


FILES: dict[str, File] = {
    "embeddings/emb_a.safetensors": File(
        "emb_a",
        lambda s: embedding(s, "emb_params", 2),
        "320a2337073afb2042cafd28e128b8f0a48ab7c3be810f11721ee3e813e0e25c",
    ),
    "embeddings/emb_b.pt": File("emb_b", lambda s: embedding(s, "*", 3), ""),
    "controlnet/control_sd15.safetensors": File(
        "control_sd15", control, "8c783ff303f22cceaebc15e653ae397119c09e04861308bc8e24d4a139154602"
    ),
    "loras/lora_sd15.safetensors": File(
        "lora_sd15", lora, "b14d12d1a5120a8e5fa15d411dc39c7503c94eb675db09c8d241e8db0b05d760"
    ),
    "loras/lora_sd15_b.safetensors": File(
        "lora_sd15_b", lora, "702f26a119f40e673ff9e18de01f02e62f9d45b18c6820215692a64f84b28592"
    ),
    "vae/vae_alt.safetensors": File(
        "vae_alt", lambda s: vae(s, ""), "1c2421ad1f6a58ca12d109dbefbb6d4887411e41938ab7df2dd2595940b6f15a"
    ),
    "checkpoints/sd15.safetensors": File(
        "sd15", checkpoint, "b1870ef9e921ed15b290e4e951c99f159c55f05fc01628feb14e4fc6cd88055d"
    ),
    "checkpoints/sd15_b.safetensors": File(
        "sd15_b", checkpoint, "9df09837c775227f18299179927c032547d85f7acd0106488d61755d51f83adb"
    ),
}
