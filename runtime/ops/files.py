"""Ops that write pictures and latents, and read latents, named and numbered like ComfyUI's."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import torch

from graphs.errors import RunError
from runtime.context import Json, OpContext
from runtime.files import SaveName, find_file, next_counter, save_name, write_new
from runtime.safetensors_header import SMALL, read_header
from runtime.values import Latent, SavedFile

PNG_LEVEL, PREVIEW_LEVEL = 4, 1
PREVIEW_PREFIX = "ComfyUI_temp_"
OLD_LATENT_SCALE = 1 / 0.18215  # latents saved before the format had a version are scaled
_LETTERS = "abcdefghijklmnopqrstuvxyz"


def save_image(context: OpContext, image_u8: torch.Tensor, filename_prefix: str) -> tuple[SavedFile, ...]:
    """image_u8: (B, H, W, C) uint8 -> PREFIX_00001_.png ... in the output folder. %batch_num%: place in the batch."""
    return _save_pictures(context, image_u8, filename_prefix, context.output_dir, "output", PNG_LEVEL)


def preview_image(context: OpContext, image_u8: torch.Tensor) -> tuple[SavedFile, ...]:
    """The same into the temp folder, under a prefix that no other run takes."""
    prefix = PREVIEW_PREFIX + "".join(random.SystemRandom().choices(_LETTERS, k=5))
    return _save_pictures(context, image_u8, prefix, context.temp_dir, "temp", PREVIEW_LEVEL)


def save_latent(context: OpContext, latent: Latent, filename_prefix: str) -> tuple[SavedFile, ...]:
    """One file PREFIX_00001_.latent for the whole batch: safetensors, float32, unscaled."""
    from safetensors.torch import save

    where = f"node {context.node}"
    name = save_name(filename_prefix, context.output_dir, width=0, height=0, where=where)
    tensors = {
        "latent_tensor": latent.samples.detach().to("cpu", torch.float32).contiguous(),
        "latent_format_version_0": torch.empty(0),
    }
    data = save(tensors, {key: json.dumps(value) for key, value in _metadata(context).items()})
    path, _ = write_new(name, next_counter(name.folder, name.stem), ".latent", data, where=where)
    return (_saved(context, path, name, "latents", "output"),)


def load_latent(context: OpContext, file: str) -> Latent:
    """file: a name in the input folder. Gives samples as saved. Raises RunError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    where = f"node {context.node}"
    path = find_file(
        file, input_dir=context.input_dir, output_dir=context.output_dir, temp_dir=context.temp_dir, where=where
    )
    hint = "choose a file that SaveLatent wrote"
    try:
        read_header(path, SMALL)
        tensors = load_file(path, device=str(context.device))
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError) as error:  # a header that is damaged
        raise RunError(f"cannot read {path}: {error}", where=where, hint=hint) from error
    if "latent_tensor" not in tensors:
        raise RunError(f"{path} holds no latent_tensor", where=where, hint=hint)
    samples = tensors["latent_tensor"].float()
    if samples.dim() not in (4, 5) or samples.numel() == 0:
        got = str(tuple(samples.shape))
        raise RunError(f"{path} holds no latent", where=where, expected="(batch, channels, height, width)", got=got)
    return Latent(samples if "latent_format_version_0" in tensors else samples * OLD_LATENT_SCALE)


def _save_pictures(
    context: OpContext, image_u8: torch.Tensor, prefix: str, root: Path, folder_type: str, level: int
) -> tuple[SavedFile, ...]:
    where = f"node {context.node}"
    batch, height, width = image_u8.shape[:3]
    if batch == 0:
        return ()
    name = save_name(prefix, root, width=width, height=height, where=where)
    counter = next_counter(name.folder, name.stem)
    files = []
    for number, pixels in enumerate(image_u8.cpu()):
        stem = name.stem.replace("%batch_num%", str(number))
        path, taken = write_new(name, counter, ".png", _png(context, pixels, level), stem=stem, where=where)
        counter = taken + 1
        files.append(_saved(context, path, name, "images", folder_type))
    return tuple(files)


def _png(context: OpContext, pixels: torch.Tensor, level: int) -> bytes:
    """pixels: (H, W, C) uint8. prompt and workflow go into tEXt chunks, in this order."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for key, value in _metadata(context).items():
        info.add_text(key, json.dumps(value))
    buffer = io.BytesIO()
    array = pixels.numpy()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(
        buffer, "PNG", pnginfo=info, compress_level=level
    )
    return buffer.getvalue()


def _metadata(context: OpContext) -> dict[str, Json]:
    metadata: dict[str, Json] = {}
    if context.prompt:
        metadata["prompt"] = dict(context.prompt)
    if context.workflow is not None:
        metadata["workflow"] = dict(context.workflow)
    return metadata


def _saved(context: OpContext, path: Path, name: SaveName, kind: str, folder_type: str) -> SavedFile:
    return SavedFile(context.node, kind, path.name, name.subfolder, folder_type, str(path))
