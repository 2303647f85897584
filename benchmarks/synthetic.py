"""Small checkpoints with made-up weights, in the original layouts of the families: for tests and benchmarks.

Every tensor is drawn on its own from a counter-based generator keyed by seed and name, with integer sums in between, so
that the bytes are the same on any machine. The weights are untrained: pictures are patterns, never what a prompt says.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from compiler.families import SD1, SD2, SDXL, SDXL_REFINER, Family, encoders
from compiler.families.parts import CONTROLNET, PARTS
from compiler.families.sd2 import V_MARK
from compiler.models.architecture import expected_shapes
from compiler.models.lora_names import text_aliases, unet_aliases
from compiler.models.open_clip_names import open_clip_key
from compiler.networks.controlnet import ControlNetConfig
from compiler.networks.network import Config
from compiler.networks.text import TextConfig
from compiler.networks.unet_config import UNetConfig
from compiler.networks.vae import VaeConfig

Array = NDArray[np.float32]
Draw = Callable[[str, tuple[int, ...]], Array]  # (name, shape): nearly normal with variance 1

NARROW_VAE = VaeConfig(widths=(32, 32, 64, 64))
NARROW_CLIP = TextConfig(width=64, layers=2, inner=256)
NARROW_CLIP_G = TextConfig(width=128, layers=2, inner=512, activation="gelu", projection=128)

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


def narrow_sdxl(in_channels: int = 4) -> dict[str, Config]:
    """The parts of SDXL with 64 channels in place of 320, and fewer blocks and layers."""
    context = NARROW_CLIP.width + NARROW_CLIP_G.width
    unet = UNetConfig(
        in_channels=in_channels, model_channels=64, time_width=256, widths=(64, 128, 256), res_blocks=(1, 1, 1),
        depths=(0, 1, 2), middle_depth=1, context_width=context, heads=None, linear_projection=True,
        vector_width=NARROW_CLIP_G.width + 6 * 256,
    )  # fmt: skip
    return {"unet": unet, "vae": NARROW_VAE, "clip_l": NARROW_CLIP, "clip_g": NARROW_CLIP_G}


def narrow_refiner() -> dict[str, Config]:
    unet = UNetConfig(
        model_channels=64, time_width=256, widths=(64, 128, 128, 128), res_blocks=(1, 1, 1, 1), depths=(0, 1, 1, 0),
        middle_depth=1, context_width=NARROW_CLIP_G.width, heads=None, linear_projection=True,
        vector_width=NARROW_CLIP_G.width + 5 * 256,
    )  # fmt: skip
    return {"unet": unet, "vae": NARROW_VAE, "clip_g": NARROW_CLIP_G}


def write_sdxl(path: Path, *, seed: int = 0, in_channels: int = 4, marks: Iterable[str] = ()) -> None:
    """A narrow SDXL checkpoint. in_channels: 9 for inpainting, 8 for InstructPix2Pix. marks: "v_pred", "ztsnr"."""
    tensors = _family_tensors(SDXL, narrow_sdxl(in_channels), seed, "float16")
    _save(tensors | {mark: np.zeros((0,), np.float16) for mark in marks}, path)


def write_refiner(path: Path, *, seed: int = 0) -> None:
    write_family(path, SDXL_REFINER, narrow_refiner(), seed=seed)


def narrow_sd2() -> dict[str, Config]:
    unet = replace(narrow_unet(64, NARROW_CLIP_G.width), heads=None, linear_projection=True)
    return {"unet": unet, "vae": NARROW_VAE, "clip_h": NARROW_CLIP_G}


def write_sd2(path: Path, *, seed: int = 0, velocity: bool = False) -> None:
    """A narrow Stable Diffusion 2 checkpoint. velocity: it predicts that, as the spread of one bias tells."""
    tensors = _family_tensors(SD2, narrow_sd2(), seed, "float16")
    mark = f"model.diffusion_model.{V_MARK}"
    tensors[mark] = (_draw(f"{seed}/{mark}", tensors[mark].shape) * (0.15 if velocity else 0.05)).astype(np.float16)
    _save(tensors, path)


def write_family(
    path: Path,
    family: Family,
    configs: Mapping[str, Config],
    *,
    seed: int = 0,
    dtype: str = "float16",
    draw: Draw | None = None,
) -> None:
    """A checkpoint of a family. configs: of its parts, by name. draw: in place of the draws that are the same on every
    machine."""
    _save(_family_tensors(family, configs, seed, dtype, draw=draw), path)


def _family_tensors(
    family: Family,
    configs: Mapping[str, Config],
    seed: int,
    dtype: str,
    prefixes: bool = True,
    draw: Draw | None = None,
) -> dict[str, NDArray[np.generic]]:
    """The tensors of a file of the family, under the names that its files have."""
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, config in configs.items():
        place = next(place for place in family.places if place.part.name == name)
        prefix = place.prefix if prefixes else ""
        shapes: dict[str, tuple[int, ...]] = {}
        for kind in PARTS[name].networks.values():
            shapes |= expected_shapes(kind, config)
        part: dict[str, NDArray[np.generic]] = {}
        for key, shape in shapes.items():
            values = _values(f"{seed}/{'clip' if name == 'clip_l' else name}", key, shape, draw or _draw)
            if name == "unet":
                _pass_through(key, values, config)
            part[key] = values.astype(dtype)
        renamed = _open_clip(part) if place.open_clip and prefixes else part
        tensors |= {prefix + key: values for key, values in renamed.items()}
    return tensors


def _open_clip(part: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """The tensors of a text encoder in the layout of open_clip."""
    thirds: dict[str, dict[int, NDArray[np.generic]]] = {}
    found: dict[str, NDArray[np.generic]] = {}
    for key, values in part.items():
        source = open_clip_key(key)
        if source.third is not None:
            thirds.setdefault(source.key, {})[source.third] = values
        else:
            found[source.key] = values.T if source.transposed else values
    return found | {key: np.concatenate([rows[n] for n in range(3)]) for key, rows in thirds.items()}


def write_checkpoint(
    path: Path,
    *,
    width: int = 32,
    seed: int = 0,
    unet: UNetConfig | None = None,
    vae: VaeConfig | None = NARROW_VAE,
    clip: TextConfig | None = NARROW_CLIP,
    parts: Iterable[str] = ("unet", "vae", "clip_l"),
    prefixes: bool = True,
    dtype: str = "float16",
) -> None:
    """Writes a safetensors file (atomically). width: the U-Net's, where `unet` is not given.

    parts: a file may hold only some; prefixes False: under their bare names, as a VAE file has them. dtype: "float16"
    or "float32".
    """
    unet = unet or narrow_unet(width, clip.width if clip else NARROW_CLIP.width)
    configs = {"unet": unet, "vae": vae, "clip_l": clip}
    _save(_family_tensors(SD1, {part: configs[part] for part in parts}, seed, dtype, prefixes), path)


def write_lora(
    path: Path,
    *,
    unet: UNetConfig,
    texts: Mapping[str, TextConfig] | None = None,
    start: str = "lora_unet_down",
    rank: int = 4,
    seed: int = 0,
    draw: Draw | None = None,
) -> None:
    """A LoRA of the attentions of a U-Net and of text encoders by part, in kohya's names and float16. start: of the
    names of the U-Net's modules, which has several for each. draw: as for write_family."""
    shapes = {k.removesuffix(".weight"): s for k, s in expected_shapes("unet", unet).items() if ".attn" in k}
    names = {name: shapes[module] for name, module in unet_aliases(shapes, unet).items() if name.startswith(start)}
    for part, config in (texts or {}).items():
        encoder = encoders(SDXL if len(texts or {}) > 1 else None)[part]
        inner = {k.removesuffix(".weight"): s for k, s in expected_shapes(part, config).items() if "_proj.weight" in k}
        flat = encoder.lora_flat[-1]
        names |= {name: inner[m] for name, m in text_aliases(inner, encoder).items() if name.startswith(flat)}
    draw = draw or _draw
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, shape in sorted(names.items()):
        if len(shape) != 2:
            continue
        out, width = shape
        down = draw(f"{seed}/{name}.down", (rank, width)) / math.sqrt(width)
        tensors[f"{name}.lora_down.weight"] = down.astype(np.float16)
        tensors[f"{name}.lora_up.weight"] = (draw(f"{seed}/{name}.up", (out, rank)) * 0.5).astype(np.float16)
        tensors[f"{name}.alpha"] = np.array(rank, dtype=np.float16)
    _save(tensors, path)


def write_controlnet(
    path: Path,
    *,
    unet: UNetConfig,
    seed: int = 0,
    prefix: str = "",
    dtype: str = "float16",
    strength: float = 1.0,
    draw: Draw | None = None,
) -> None:
    """A ControlNet that fits a U-Net, in the original layout. prefix: "" or "control_model.".

    strength: of the last layers, which a training starts at 0; at 1 a hint changes the picture plainly. draw: as for
    write_family."""
    config = ControlNetConfig(encoder=replace(unet, out_channels=unet.in_channels))
    tensors: dict[str, NDArray[np.generic]] = {}
    for kind in CONTROLNET.networks.values():
        for key, shape in expected_shapes(kind, config).items():
            values = _values(f"{seed}/controlnet", key, shape, draw or _draw)
            if key.startswith(_CONTROL_ENDS):
                values = values * np.float32(strength)
            tensors[prefix + key] = values.astype(dtype)
    _save(tensors, path)


def write_embedding(path: Path, *, width: int = NARROW_CLIP.width, vectors: int = 2, seed: int = 0) -> None:
    """A textual inversion file: so many vectors, in float32 under the usual name."""
    _save({"emb_params": _draw(f"{seed}/embedding", (vectors, width))}, path)


def write_sdxl_embedding(path: Path, *, vectors: int = 2, seed: int = 0) -> None:
    """A textual inversion file with vectors for both text encoders of the narrow SDXL."""
    widths = {"clip_l": NARROW_CLIP.width, "clip_g": NARROW_CLIP_G.width}
    _save({name: _draw(f"{seed}/embedding/{name}", (vectors, width)) for name, width in widths.items()}, path)


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


def _values(seed: str, key: str, shape: tuple[int, ...], draw: Draw = _draw) -> Array:
    drawn = draw(f"{seed}/{key}", shape)
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
