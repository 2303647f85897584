"""What a checkpoint is: its parts, and the architecture that its keys and shapes tell (never its file name).

All renaming of checkpoint keys is in PREFIXES; inside a part a key is called as the original layout calls it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch

from compiler.model_file import ModelTensors, TensorInfo, open_model_file
from compiler.networks.text import TextConfig
from compiler.networks.unet_config import UNetConfig
from compiler.networks.vae import VaeConfig
from graphs.errors import CheckpointError

# part -> the prefixes under which checkpoints hold it, most specific first; "" is a file of that part alone.
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "unet": ("model.diffusion_model.", ""),
    "vae": ("first_stage_model.", ""),
    "clip": ("cond_stage_model.transformer.", "cond_stage_model.", ""),
}
# A key that a part of that name must have.
_MARKS = {
    "unet": "input_blocks.0.0.weight",
    "vae": "decoder.conv_in.weight",
    "clip": "text_model.embeddings.token_embedding.weight",
}
# What checkpoints carry beside weights, and nobody needs: training state, tables that follow from the schedule.
HARMLESS = re.compile(
    r"model_ema\.|betas$|alphas_cumprod|sqrt_|log_one_minus|posterior_|lvlb_weights|logvar$|"
    r".*position_ids$|.*logit_scale$|.*text_projection(\.weight)?$|loss\.|global_step$|epoch$|"
    r"optimizer|lr_scheduler|callbacks|pytorch-lightning|cond_stage_model\.model\.transformer\.text_model\.embeddings\.position_ids"
)
# Marks of families that are told apart only to say so.
_OTHER_FAMILIES = (
    ("SDXL", ("conditioner.embedders.1.model.ln_final.weight",)),
    ("the SDXL refiner", ("conditioner.embedders.0.model.ln_final.weight",)),
    ("Stable Diffusion 2", ("cond_stage_model.model.ln_final.weight",)),
    ("Stable Diffusion 3", ("model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight",)),
    ("Flux", ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "double_blocks.0.img_attn.qkv.weight")),
    ("a ControlNet", ("control_model.zero_convs.0.0.weight", "zero_convs.0.0.weight")),
    ("Stable Cascade", ("clf.1.weight",)),
)


@dataclass(frozen=True)
class Architecture:
    """family: "sd15". prediction: "eps" or "v". A part that the file lacks is None."""

    family: str
    unet: UNetConfig | None = None
    vae: VaeConfig | None = None
    clip: TextConfig | None = None
    prediction: str = "eps"
    latent_scale: float = 0.18215


@dataclass(frozen=True)
class Checkpoint:
    """An open model file with its parts found."""

    tensors: ModelTensors
    prefixes: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.tensors.path

    def part(self, name: str) -> dict[str, TensorInfo]:
        """The tensors of a part under their names inside it; empty where the file lacks the part."""
        prefix = self.prefixes.get(name)
        if prefix is None:
            return {}
        return {k.removeprefix(prefix): info for k, info in self.tensors.items() if k.startswith(prefix)}

    def tensor(self, part: str, key: str) -> torch.Tensor:
        return self.tensors.tensor(self.prefixes[part] + key)


@lru_cache(maxsize=16)
def _open(path: Path, size_bytes: int, mtime_ns: int) -> Checkpoint:
    tensors = open_model_file(path)
    prefixes = {}
    for part, candidates in PREFIXES.items():
        found = next((p for p in candidates if p + _MARKS[part] in tensors), None)
        if found is not None:
            prefixes[part] = found
    return Checkpoint(tensors, prefixes)


def open_checkpoint(path: Path) -> Checkpoint:
    """Opens a checkpoint, or a file of one part. Raises CheckpointError where it is damaged."""
    try:
        stat = path.stat()
    except OSError as error:
        raise CheckpointError("the model file cannot be read", where=str(path), got=str(error)) from None
    return _open(path, stat.st_size, stat.st_mtime_ns)


def detect(checkpoint: Checkpoint) -> Architecture:
    """The architecture from keys and shapes. Raises CheckpointError for families that are not compiled (named)."""
    tensors = checkpoint.tensors
    for family, marks in _OTHER_FAMILIES:
        if any(mark in tensors for mark in marks):
            raise CheckpointError(
                "the file is of an architecture that is not compiled yet",
                where=str(checkpoint.path),
                expected="Stable Diffusion 1",
                got=family,
                hint="use a Stable Diffusion 1.x checkpoint with this workflow",
            )
    if not checkpoint.prefixes:
        some = ", ".join(sorted(tensors)[:3])
        raise CheckpointError(
            "the file holds no U-Net, VAE or text encoder that is known",
            where=str(checkpoint.path),
            expected="Stable Diffusion 1 in its original layout",
            got=f"{len(tensors)} tensors such as {some}",
            hint="diffusers folders and single transformer files are not read; use the single-file checkpoint",
        )
    return Architecture(
        family="sd15",
        unet=_unet_config(checkpoint) if "unet" in checkpoint.prefixes else None,
        vae=_vae_config(checkpoint) if "vae" in checkpoint.prefixes else None,
        clip=_text_config(checkpoint) if "clip" in checkpoint.prefixes else None,
    )


def unused_keys(checkpoint: Checkpoint, used: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Keys of the file that no network takes (used: part -> keys inside it) and that are not known to be harmless."""
    prefixes = checkpoint.prefixes
    taken = {prefixes[part] + key for part, keys in used.items() if part in prefixes for key in keys}
    return tuple(sorted(k for k in checkpoint.tensors if k not in taken and not HARMLESS.match(k)))


# --- one part each


def _shape(checkpoint: Checkpoint, part: str, key: str) -> tuple[int, ...]:
    full = checkpoint.prefixes[part] + key
    if full not in checkpoint.tensors:
        raise CheckpointError(
            "a tensor is missing", where=str(checkpoint.path), expected=full, hint="the file is incomplete"
        )
    return checkpoint.tensors[full].shape


def _indices(keys: Iterable[str], pattern: str) -> list[int]:
    return sorted({int(m[1]) for k in keys if (m := re.match(pattern, k))})


def _unet_config(checkpoint: Checkpoint) -> UNetConfig:
    keys = checkpoint.part("unet")

    def shape(key: str) -> tuple[int, ...]:
        return _shape(checkpoint, "unet", key)

    def depth(block: str) -> int:
        return len(_indices(keys, rf"{block}\.1\.transformer_blocks\.(\d+)\."))

    model_channels, in_channels = shape("input_blocks.0.0.weight")[:2]
    widths: list[int] = []
    counts: list[int] = []
    depths: list[int] = []
    fresh = True
    for n in _indices(keys, r"input_blocks\.(\d+)\.")[1:]:
        block = f"input_blocks.{n}"
        if f"{block}.0.op.weight" in keys:
            fresh = True
            continue
        width = shape(f"{block}.0.out_layers.3.weight")[0]
        if fresh:
            widths, counts, depths, fresh = [*widths, width], [*counts, 0], [*depths, depth(block)], False
        counts[-1] += 1
        if width != widths[-1] or depth(block) != depths[-1]:
            raise CheckpointError(
                "the U-Net changes its width or depth within a level", where=f"{checkpoint.path}: {block}",
                hint="no known Stable Diffusion does that; is the file damaged?",
            )  # fmt: skip
    attention = next((k for k in keys if k.endswith("attn2.to_k.weight")), None)
    if attention is None:
        raise CheckpointError("the U-Net takes no text", where=str(checkpoint.path), expected="cross-attention blocks")
    projection = next(k for k in keys if k.endswith(".proj_in.weight"))
    return UNetConfig(
        in_channels=in_channels,
        out_channels=shape("out.2.weight")[0],
        model_channels=model_channels,
        time_width=shape("time_embed.0.weight")[0],
        widths=tuple(widths),
        res_blocks=tuple(counts),
        depths=tuple(depths),
        middle_depth=depth("middle_block"),
        context_width=keys[attention].shape[1],
        heads=8,  # heads leave no trace in the shapes: Stable Diffusion 1 has 8 in every attention
        linear_projection=len(keys[projection].shape) == 2,
    )


def _vae_config(checkpoint: Checkpoint) -> VaeConfig:
    keys = checkpoint.part("vae")
    levels = _indices(keys, r"decoder\.up\.(\d+)\.")
    widths = tuple(_shape(checkpoint, "vae", f"decoder.up.{level}.block.0.conv2.weight")[0] for level in levels)
    return VaeConfig(
        widths=widths,
        res_blocks=len(_indices(keys, r"decoder\.up\.0\.block\.(\d+)\.")) - 1,
        latent_channels=_shape(checkpoint, "vae", "decoder.conv_in.weight")[1],
        embed_channels=_shape(checkpoint, "vae", "post_quant_conv.weight")[1],
        image_channels=_shape(checkpoint, "vae", "decoder.conv_out.weight")[0],
    )


def _text_config(checkpoint: Checkpoint) -> TextConfig:
    keys = checkpoint.part("clip")
    vocabulary, width = _shape(checkpoint, "clip", "text_model.embeddings.token_embedding.weight")
    return TextConfig(
        width=width,
        layers=len(_indices(keys, r"text_model\.encoder\.layers\.(\d+)\.")),
        inner=_shape(checkpoint, "clip", "text_model.encoder.layers.0.mlp.fc1.weight")[0],
        vocabulary=vocabulary,
        positions=_shape(checkpoint, "clip", "text_model.embeddings.position_embedding.weight")[0],
    )
