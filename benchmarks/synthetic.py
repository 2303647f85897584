"""Small checkpoints with made-up weights, in the original layout of Stable Diffusion 1.5: for tests and benchmarks.

Every tensor is drawn on its own from a counter-based generator keyed by seed and name, with integer sums in between, so
that the bytes are the same on any machine. The weights are untrained: pictures are patterns, never what a prompt says.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from compiler.models.checkpoint import LAYOUTS, PART_KINDS, expected_shapes
from compiler.models.lora_names import unet_aliases
from compiler.networks.controlnet import ControlNetConfig
from compiler.networks.text import TextConfig
from compiler.networks.unet_config import UNetConfig
from compiler.networks.vae import VaeConfig

Array = NDArray[np.float32]

NARROW_VAE = VaeConfig(widths=(32, 32, 64, 64))
NARROW_CLIP = TextConfig(width=64, layers=2, inner=256)

# Last layers of residual branches: small, so that deep stacks stay tame.
_BRANCH_ENDS = (
    "out_layers.3.weight", "to_out.0.weight", "ff.net.2.weight", "out_proj.weight", "fc2.weight", "conv2.weight",
)  # fmt: skip
# Last layers of a ControlNet.
_CONTROL_ENDS = ("zero_convs.", "middle_block_out.")
_GAINS = {
    "input_hint_block.14.weight": 0.5, "out.2.weight": 0.3, "decoder.conv_out.weight": 0.7,
    "encoder.conv_out.weight": 6.0,
}  # fmt: skip


def narrow_unet(width: int = 32, context_width: int = NARROW_CLIP.width) -> UNetConfig:
    """Stable Diffusion 1.5's U-Net at `width` (a multiple of 32) in place of 320 channels."""
    widths = tuple(width * factor for factor in (1, 2, 4, 4))
    return UNetConfig(model_channels=width, time_width=4 * width, widths=widths, context_width=context_width)


def write_checkpoint(
    path: Path,
    *,
    width: int = 32,
    seed: int = 0,
    unet: UNetConfig | None = None,
    vae: VaeConfig | None = NARROW_VAE,
    clip: TextConfig | None = NARROW_CLIP,
    parts: Iterable[str] = ("unet", "vae", "clip"),
    prefixes: bool = True,
    dtype: str = "float16",
) -> None:
    """Writes a safetensors file (atomically). width: the U-Net's, where `unet` is not given.

    parts: a file may hold only some; prefixes False: under their bare names, as a VAE file has them. dtype: "float16"
    or "float32".
    """
    unet = unet or narrow_unet(width, clip.width if clip else NARROW_CLIP.width)
    configs = {"unet": unet, "vae": vae, "clip": clip}
    tensors: dict[str, NDArray[np.generic]] = {}
    for part in parts:
        config = configs[part]
        prefix = LAYOUTS[part][0][0] if prefixes else ""
        shapes: dict[str, tuple[int, ...]] = {}
        for kind in PART_KINDS[part]:
            shapes |= expected_shapes(kind, config)
        for key, shape in shapes.items():
            values = _values(f"{seed}/{part}", key, shape)
            if part == "unet":
                _pass_through(key, values, unet)
            tensors[prefix + key] = values.astype(dtype)
    _save(tensors, path)


def write_lora(path: Path, *, unet: UNetConfig, rank: int = 4, seed: int = 0) -> None:
    """A LoRA of every attention of a U-Net, in kohya's names and float16."""
    shapes = {k.removesuffix(".weight"): s for k, s in expected_shapes("unet", unet).items() if ".attn" in k}
    aliases = {module: name for name, module in unet_aliases(shapes, unet).items() if name.startswith("lora_unet_down")}
    tensors: dict[str, NDArray[np.generic]] = {}
    for module, name in sorted(aliases.items()):
        if len(shapes[module]) != 2:
            continue
        out, width = shapes[module]
        down = _draw(f"{seed}/{name}.down", (rank, width)) / math.sqrt(width)
        tensors[f"{name}.lora_down.weight"] = down.astype(np.float16)
        tensors[f"{name}.lora_up.weight"] = (_draw(f"{seed}/{name}.up", (out, rank)) * 0.5).astype(np.float16)
        tensors[f"{name}.alpha"] = np.array(rank, dtype=np.float16)
    _save(tensors, path)


def write_controlnet(
    path: Path, *, unet: UNetConfig, seed: int = 0, prefix: str = "", dtype: str = "float16", strength: float = 1.0
) -> None:
    """A ControlNet that fits a U-Net, in the original layout. prefix: "" or "control_model.".

    strength: of the last layers, which a training starts at 0; at 1 a hint changes the picture plainly."""
    config = ControlNetConfig(encoder=replace(unet, out_channels=unet.in_channels))
    tensors: dict[str, NDArray[np.generic]] = {}
    for kind in PART_KINDS["controlnet"]:
        for key, shape in expected_shapes(kind, config).items():
            values = _values(f"{seed}/controlnet", key, shape)
            if key.startswith(_CONTROL_ENDS):
                values = values * np.float32(strength)
            tensors[prefix + key] = values.astype(dtype)
    _save(tensors, path)


def write_embedding(path: Path, *, width: int = NARROW_CLIP.width, vectors: int = 2, seed: int = 0) -> None:
    """A textual inversion file: so many vectors, in float32 under the usual name."""
    _save({"emb_params": _draw(f"{seed}/embedding", (vectors, width))}, path)


def _save(tensors: Mapping[str, NDArray[np.generic]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, part, metadata={"weights": "synthetic"})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _draw(name: str, shape: tuple[int, ...]) -> Array:
    """Nearly normal with variance 1: the sum of the eight bytes of a random word, centred and scaled."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    words = np.random.Philox(key=key).random_raw(math.prod(shape))
    sums = words.view(np.uint8).reshape(-1, 8).sum(axis=1, dtype=np.int32) - 1020
    deviation = math.sqrt(8 * (256**2 - 1) / 12)
    drawn: Array = (sums.astype(np.float32) / np.float32(deviation)).reshape(shape)
    return drawn


def _values(seed: str, key: str, shape: tuple[int, ...]) -> Array:
    drawn = _draw(f"{seed}/{key}", shape)
    if key.endswith("token_embedding.weight"):
        return drawn
    if key.endswith("position_embedding.weight"):
        return drawn * np.float32(0.5)
    if len(shape) == 1:
        # The only vectors called weight are those of norms.
        return drawn * np.float32(0.1) + 1 if key.endswith(".weight") else drawn * np.float32(0.03)
    # The text is let in without restraint, so that another prompt gives another picture.
    gain = 0.3 if key.endswith(_BRANCH_ENDS) and ".attn2." not in key else _GAINS.get(key, 1.0)
    if key.startswith("input_hint_block.") and key not in _GAINS:
        gain = 1.6  # what a SiLU takes away
    return drawn * np.float32(gain / math.sqrt(math.prod(shape[1:])))


def _pass_through(key: str, values: Array, config: UNetConfig) -> None:
    """Lets the U-Net hand its input on to its output, beside the random features: a trained eps model does so where
    noise prevails, and without it sampling would not come to rest.

    Pairs of channels carry +x and -x from the first convolution over the last skip; SiLU(x) - SiLU(-x) = x.
    """
    width, pairs = config.model_channels, config.model_channels // 8
    if config.widths[0] != width:
        return
    last = f"output_blocks.{sum(config.res_blocks) + len(config.res_blocks) - 1}.0.skip_connection.weight"
    for pair in range(pairs):
        latent = pair % config.out_channels
        for channel, sign in ((2 * pair, 1.0), (2 * pair + 1, -1.0)):
            if key == "input_blocks.0.0.weight":
                values[channel] = 0.0
                values[channel, latent, 1, 1] = sign
            elif key == last:
                values[channel] *= np.float32(0.3)
                values[channel, config.widths[0] + channel] = 1.0
            elif key == "out.2.weight":
                values[:, channel] = 0.0
                values[latent, channel, 1, 1] = sign * config.out_channels / pairs
