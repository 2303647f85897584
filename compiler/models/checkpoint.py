"""A checkpoint: its parts, their architecture, and an account of every key.

All renaming of checkpoint keys is in LAYOUTS, and for ControlNets of diffusers in control_names; inside a part a key
has the name of the original layout.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from compiler.models import control_names
from compiler.models.architecture import Architecture, Shapes, not_compiled, text_config, unet_config, vae_config
from compiler.models.model_file import ModelTensors, TensorInfo, open_model_file
from compiler.models.recognition import HARMLESS, foreign_kind
from compiler.networks import NETWORKS
from graphs.errors import CheckpointError

__all__ = [
    "Architecture", "Checkpoint", "KeyReport", "account", "detect", "list_some", "open_checkpoint", "require_whole",
    "unused_keys",
]  # fmt: skip

logger = logging.getLogger(__name__)

# part -> (prefix in the file, prefix inside the part that takes its place), most specific first.
LAYOUTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "unet": (("model.diffusion_model.", ""), ("", "")),
    "controlnet": (("control_model.", ""), ("", "")),
    "vae": (("first_stage_model.", ""), ("vae.", ""), ("", "")),
    "clip": (
        ("cond_stage_model.transformer.", ""),
        ("cond_stage_model.transformer.", "text_model."),  # files made with an early transformers
        ("cond_stage_model.", ""),
        ("", ""),
    ),
}
# A key that a part of that name must have.
_MARKS = {
    "unet": "input_blocks.0.0.weight",
    "controlnet": "zero_convs.0.0.weight",
    "vae": "decoder.conv_in.weight",
    "clip": "text_model.embeddings.token_embedding.weight",
}
# The networks whose weights make up a part.
PART_KINDS = {
    "unet": ("unet",),
    "vae": ("vae_decoder", "vae_encoder"),
    "clip": ("clip_text",),
    "controlnet": ("controlnet", "controlnet_hint"),
}
# 1x1 convolutions that some files hold as matrices.
_MATRIX = re.compile(r"(encoder|decoder)\.mid\.attn_1\.(q|k|v|proj_out)\.weight$")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An open model file with its parts found. names: part -> key inside the part -> key in the file."""

    tensors: ModelTensors
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.tensors.path

    def part(self, name: str) -> dict[str, TensorInfo]:
        """The tensors of a part under their names inside it; empty where the file lacks the part."""
        return {key: self._info(name, key) for key in self.names.get(name, {})}

    def tensor(self, part: str, key: str) -> torch.Tensor:
        """In its stored dtype: a view of the mapped file, not to be written to."""
        return self.tensors.tensor(self.names[part][key]).reshape(self._info(part, key).shape)

    def _info(self, part: str, key: str) -> TensorInfo:
        info = self.tensors[self.names[part][key]]
        if part == "vae" and len(info.shape) == 2 and _MATRIX.match(key):
            return replace(info, shape=(*info.shape, 1, 1))
        return info


@lru_cache(maxsize=16)
def _open(path: Path, size_bytes: int, mtime_ns: int) -> Checkpoint:
    tensors = open_model_file(path)
    names = {part: found for part in LAYOUTS if (found := _part_names(tensors, part))}
    if _MARKS["controlnet"] in tensors:
        names.pop("unet", None)  # a ControlNet without prefix: half of its keys are called like a U-Net's
    if control_names.MARK in tensors:
        names = {"controlnet": control_names.original_names(tensors)}
    return Checkpoint(tensors, names)


def _part_names(tensors: Iterable[str], part: str) -> dict[str, str]:
    for prefix, inside in LAYOUTS[part]:
        if not _MARKS[part].startswith(inside):
            continue
        if prefix + _MARKS[part].removeprefix(inside) in tensors:
            names = {inside + key.removeprefix(prefix): key for key in tensors if key.startswith(prefix)}
            return {k: v for k, v in names.items() if prefix or _belongs(part, k)}
    return {}


def _belongs(part: str, key: str) -> bool:
    """Whether a key without a prefix may be of that part: a file of one part may still carry other things."""
    return not any(key.startswith(prefix) for layouts in LAYOUTS.values() for prefix, _ in layouts if prefix)


def open_checkpoint(path: Path) -> Checkpoint:
    """Opens a checkpoint, or a file of one part. Raises CheckpointError where it is damaged."""
    try:
        stat = path.stat()
    except OSError as error:
        raise CheckpointError("the model file cannot be read", where=str(path), got=str(error)) from None
    return _open(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=16)
def detect(checkpoint: Checkpoint) -> Architecture:
    """The architecture from keys and shapes.

    Raises CheckpointError for other families and kinds of file (named), and for weights that are missing or of an
    impossible shape (listed). Weights that no network takes are listed in a warning.
    """
    where = str(checkpoint.path)
    foreign = foreign_kind(checkpoint.tensors)
    if foreign and not {"unet", "vae", "clip"} <= checkpoint.names.keys():  # whole ones may carry a ControlNet besides
        raise not_compiled(where, *foreign)
    if not checkpoint.names:
        raise CheckpointError(
            "the file holds no U-Net, VAE or text encoder that is known", where=where,
            expected="Stable Diffusion 1 in its original layout",
            got=f"{len(checkpoint.tensors)} tensors: {list_some(sorted(checkpoint.tensors))}",
            hint="diffusers folders and single transformer files are not read; use the single-file checkpoint",
        )  # fmt: skip
    architecture = Architecture(
        family="sd15",
        unet=_configured(checkpoint, "unet", unet_config),
        vae=_configured(checkpoint, "vae", vae_config),
        clip=_configured(checkpoint, "clip", text_config),
    )
    require_whole(checkpoint, architecture)
    return architecture


def require_whole(checkpoint: Checkpoint, architecture: Architecture) -> None:
    """Raises CheckpointError for weights that are missing or misshapen; warns of those that no network takes."""
    where, report = str(checkpoint.path), account(checkpoint, architecture)
    faults = [
        f"{len(keys)} {what}: {list_some(keys)}"
        for keys, what in ((report.missing, "missing"), (report.misshapen, "of another shape"))
        if keys
    ]
    if faults:
        raise CheckpointError(
            "the weights do not make up the network", where=where, got="; ".join(faults),
            hint="the file is incomplete or damaged, or of an architecture that is not compiled yet",
        )  # fmt: skip
    if report.unknown:
        logger.warning("%s: %d tensors are not used: %s", where, len(report.unknown), list_some(report.unknown))


def _configured(checkpoint: Checkpoint, part: str, configure: Callable[[Shapes], Any]) -> Any:
    infos = checkpoint.part(part)
    if not infos:
        return None
    return configure(Shapes({key: info.shape for key, info in infos.items()}, f"{checkpoint.path} ({part})"))


# --- every key accounted for


@dataclass(frozen=True)
class KeyReport:
    """missing, misshapen: "part: key ..."; unknown: keys of the file that no network takes and that are not known to
    be harmless."""

    missing: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def account(checkpoint: Checkpoint, architecture: Architecture) -> KeyReport:
    """Compares the file with what the networks of its architecture take."""
    missing: list[str] = []
    misshapen: list[str] = []
    used: dict[str, set[str]] = {}
    for part, kinds in PART_KINDS.items():
        config = getattr(architecture, part)
        infos = checkpoint.part(part)
        if config is None:
            continue
        for kind in kinds:
            expected = expected_shapes(kind, config)
            if kind == "vae_encoder" and not any(key.startswith("encoder.") for key in infos):
                continue  # a file of the decoder alone; whoever needs the encoder is told then
            used.setdefault(part, set()).update(expected)
            for key, shape in expected.items():
                if key not in infos:
                    missing.append(f"{part}: {key}")
                elif infos[key].shape != shape:
                    misshapen.append(f"{part}: {key} {list(infos[key].shape)} for {list(shape)}")
    return KeyReport(tuple(missing), tuple(misshapen), unused_keys(checkpoint, used))


def unused_keys(checkpoint: Checkpoint, used: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Keys of the file that no network takes (used: part -> keys inside it) and that are not known to be harmless."""
    taken = {checkpoint.names[part].get(key) for part, keys in used.items() for key in keys if part in checkpoint.names}
    return tuple(sorted(k for k in checkpoint.tensors if k not in taken and not HARMLESS.match(k)))


@lru_cache(maxsize=64)
def expected_shapes(kind: str, config: Any) -> Mapping[str, tuple[int, ...]]:
    """Parameter name -> shape of a network, without allocating it."""
    with torch.device("meta"):
        module = NETWORKS[kind].module(config)
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def list_some(items: Iterable[str], most: int = 6) -> str:
    listed = list(items)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
