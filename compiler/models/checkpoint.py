"""An open model file with its parts found, whatever family it is of.

All renaming of keys is in the families' places, in open_clip_names and, for ControlNets of diffusers, in control_names;
inside a part a key has the name of the original layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch

from compiler.families import FAMILIES
from compiler.families.family import Part, Place
from compiler.families.parts import CLIP_G, CLIP_H, CLIP_L, CONTROLNET, UNET, VAE
from compiler.models import control_names
from compiler.models.model_file import ModelTensors, TensorInfo, open_model_file
from compiler.models.open_clip_names import OPEN_CLIP_MARK, transformers_names
from compiler.models.source import Source
from compiler.networks.shapes import Shapes
from graphs.errors import CheckpointError

# 1x1 convolutions that some files hold as matrices.
_MATRIX = re.compile(r"(encoder|decoder)\.mid\.attn_1\.(q|k|v|proj_out)\.weight$")
# Files of one part, and ControlNets.
_LOOSE = (
    Place(CONTROLNET, "control_model."), Place(CONTROLNET, ""), Place(UNET, ""), Place(VAE, "vae."), Place(VAE, ""),
)  # fmt: skip
_TEXT_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.")
# Text encoders in files of their own are told apart by their number of layers.
_BY_LAYERS = ((31, CLIP_G), (23, CLIP_H), (1, CLIP_L))


def places() -> tuple[Place, ...]:
    """Where parts lie in files, the most specific first."""
    of_families = dict.fromkeys(place for family in FAMILIES for place in family.places)
    return (*of_families, *_LOOSE)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """names: part -> key inside the part -> where it stands in the file."""

    tensors: ModelTensors
    names: Mapping[str, Mapping[str, Source]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.tensors.path

    @property
    def text_parts(self) -> tuple[str, ...]:
        """The text encoders of the file."""
        return tuple(part.name for part in (CLIP_L, CLIP_G, CLIP_H) if part.name in self.names)

    def part(self, name: str) -> dict[str, TensorInfo]:
        """The tensors of a part under their names inside it; empty where the file lacks the part."""
        return {key: self._info(name, key) for key in self.names.get(name, {})}

    def shapes(self, name: str) -> Shapes:
        return Shapes({key: info.shape for key, info in self.part(name).items()}, f"{self.path} ({name})")

    def tensor(self, part: str, key: str) -> torch.Tensor:
        """In its stored dtype: a view of the mapped file, not to be written to."""
        source = self.names[part][key]
        return source.read(self.tensors.tensor(source.key)).reshape(self._info(part, key).shape)

    def _info(self, part: str, key: str) -> TensorInfo:
        source = self.names[part][key]
        info = self.tensors[source.key]
        info = replace(info, shape=source.shape(info.shape))
        if part == VAE.name and len(info.shape) == 2 and _MATRIX.match(key):
            return replace(info, shape=(*info.shape, 1, 1))
        return info


def open_checkpoint(path: Path) -> Checkpoint:
    """Opens a checkpoint, or a file of one part. Raises CheckpointError where it is damaged."""
    try:
        stat = path.stat()
    except OSError as error:
        raise CheckpointError("the model file cannot be read", where=str(path), got=str(error)) from None
    return _open(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=16)
def _open(path: Path, size_bytes: int, mtime_ns: int) -> Checkpoint:
    tensors = open_model_file(path)
    if control_names.MARK in tensors:
        return Checkpoint(tensors, {CONTROLNET.name: control_names.original_names(tensors)})
    names: dict[str, dict[str, Source]] = {}
    for place in places():
        if place.part.name not in names and (found := _names(tensors, place)):
            names[place.part.name] = found
    if not any(part.name in names for part in (CLIP_L, CLIP_G, CLIP_H)) and CLIP_L.mark in tensors:
        names[_text_part(tensors).name] = _names(tensors, Place(CLIP_L, ""))
    if CONTROLNET.mark in tensors:
        names.pop(UNET.name, None)  # a ControlNet without prefix: half of its keys are called like a U-Net's
    return Checkpoint(tensors, names)


def _names(tensors: Iterable[str], place: Place) -> dict[str, Source]:
    """The part's keys at a place; empty where the file has it elsewhere, or not at all."""
    mark = OPEN_CLIP_MARK if place.open_clip else place.part.mark
    if not mark.startswith(place.inside) or place.prefix + mark.removeprefix(place.inside) not in tensors:
        return {}
    if place.open_clip:
        return transformers_names(tensors, place.prefix)
    keys = [key for key in tensors if key.startswith(place.prefix) and (place.prefix or _stands_bare(key))]
    return {place.inside + key.removeprefix(place.prefix): Source(key) for key in keys}


def _stands_bare(key: str) -> bool:
    """Whether a key is of no part with a prefix: a file of one part may still carry other things."""
    return not any(place.prefix and key.startswith(place.prefix) for place in places())


def _text_part(tensors: Iterable[str]) -> Part:
    layers = 1 + max((int(found[1]) for key in tensors if (found := _TEXT_LAYER.match(key))), default=0)
    return next(part for least, part in _BY_LAYERS if layers >= least)


def list_some(items: Iterable[str], most: int = 6) -> str:
    listed = list(items)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
