"""The tensors of a weights tree: of a file, of a LoRA on top of one, of a merge of two. Merging is done in float32."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from compiler.models.checkpoint import Checkpoint, list_some, open_checkpoint
from compiler.models.file_hash import content_hash
from compiler.models.lora import Loader, lora_groups, merger
from compiler.models.lora_kinds import Group
from graphs.errors import CheckpointError
from graphs.values import Lora, Merge, ModelFile, Weights, base_file

log = logging.getLogger(__name__)

FindFile = Callable[[ModelFile], Path]


def weights_hash(weights: Weights, find: FindFile) -> tuple[tuple[str, str], ...]:
    """All that the tensors hang on, the tree in postfix order: (file, sha256) of a file, (file@strength, sha256) of a
    LoRA on what stands before it, ("merge", shares) of the two trees before it."""
    match weights:
        case ModelFile(kind, name):
            return ((f"{kind}/{name}", content_hash(find(weights))),)
        case Lora(of, file, strength):
            row = (f"{file.kind}/{file.name}@{strength!r}", content_hash(find(file)))
            return (*weights_hash(of, find), row)
        case Merge(a, b, shares):
            return (*weights_hash(a, find), *weights_hash(b, find), ("merge", json.dumps(shares)))


@dataclass(frozen=True)
class LoraFile:
    """groups: key -> what the file changes it by. sha256: of the file."""

    groups: Mapping[str, tuple[Group, ...]]
    strength: float
    sha256: str


@dataclass(frozen=True)
class Layer:
    """A step on the way from the base file to a mix.

    tensors: those that it changes (of the first layer: all), each as it is from here on, as a function that gives it:
    in the file's dtype in the first layer, float32 in the others. recipe: all that decides their values. lora: how
    they follow from those below; None where they were merged from two models.
    """

    tensors: Mapping[str, Loader]
    recipe: str
    lora: LoraFile | None = None


def merged(weights: Weights, part: str, find: FindFile) -> Mapping[str, Loader]:
    """The tensors of a part, as loaders by key. Untouched tensors keep their stored dtype, merged ones are float32.

    Raises what layered() raises."""
    return _on_top(layered(weights, part, find))


def layered(weights: Weights, part: str, find: FindFile) -> tuple[Layer, ...]:
    """The tensors of a part, layer on layer: the base file's, then one layer for each LoRA and merge that changes any.

    Modules of a LoRA that fit none of the part are listed in a warning, as ComfyUI does; what is of the other part is
    passed over. Raises CheckpointError where a LoRA does not fit the checkpoint, or is of a kind that is not merged.
    """
    recipe = json.dumps(weights_hash(weights, find))
    lora: LoraFile | None = None
    match weights:
        case ModelFile():
            checkpoint = open_checkpoint(find(weights))
            return (Layer({key: _reader(checkpoint, part, key) for key in checkpoint.part(part)}, recipe),)
        case Lora(of, file, strength):
            below = layered(of, part, find)
            if strength == 0.0:
                return below
            checkpoint, path = open_checkpoint(find(base_file(of))), find(file)
            lora, before = LoraFile(lora_groups(checkpoint, part, path), strength, content_hash(path)), _on_top(below)
            changed = {key: merger(before[key], groups, strength, key) for key, groups in lora.groups.items()}
        case Merge(a, b, shares):
            below = layered(a, part, find)
            before = _on_top(below)
            mixed = _mixed(before, merged(b, part, find), shares, base_file(b).name)
            changed = {key: loader for key, loader in mixed.items() if loader is not before[key]}
    return (*below, Layer(changed, recipe, lora)) if changed else below


def _on_top(layers: tuple[Layer, ...]) -> dict[str, Loader]:
    return {key: loader for layer in layers for key, loader in layer.tensors.items()}


def _reader(checkpoint: Checkpoint, part: str, key: str) -> Loader:
    return lambda: checkpoint.tensor(part, key)


# --- merges


def _mixed(
    a: Mapping[str, Loader], b: Mapping[str, Loader], shares: tuple[tuple[str, float, float], ...], name: str
) -> dict[str, Loader]:
    """name: of the second model, for messages."""
    mixed: dict[str, Loader] = {}
    lacking: list[str] = []
    for key, loader in a.items():
        of_a, of_b = _share(key, shares)
        if of_b and key not in b:
            lacking.append(key)
        mixed[key] = loader if (of_a, of_b) == (1.0, 0.0) else _mixer(key, loader, b.get(key), of_a, of_b, name)
    if lacking:
        raise CheckpointError(
            "two models do not merge", where=name, expected=f"{len(lacking)} more tensors: {list_some(lacking)}",
            hint="merge models of the same family",
        )  # fmt: skip
    return mixed


def _share(key: str, shares: tuple[tuple[str, float, float], ...]) -> tuple[float, float]:
    fitting = [share for share in shares if key.startswith(share[0])]
    _, of_a, of_b = max(fitting, key=lambda share: len(share[0]), default=("", 1.0, 0.0))
    return of_a, of_b


def _mixer(key: str, a: Loader, b: Loader | None, of_a: float, of_b: float, name: str) -> Loader:
    def mix() -> torch.Tensor:
        mixed = a().to(torch.float32) * of_a
        if b is None or not of_b:
            return mixed
        other = b()
        if other.shape != mixed.shape:  # an inpainting model keeps its first convolution (9 channels)
            shapes = f"{list(other.shape)} for {list(mixed.shape)}"
            log.warning("%s: '%s' is of another shape (%s) and is left out of the merge", name, key, shapes)
            return mixed
        return mixed + other.to(torch.float32) * of_b

    return mix
