"""Merges LoRA files into the weights of a part, in float32: W + strength * alpha/rank * up @ down.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), section 4.1; alpha as trainers store it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from compiler.checkpoint import Architecture, Checkpoint, detect, open_checkpoint
from compiler.lora_names import text_aliases, unet_aliases
from compiler.model_file import ModelTensors, content_hash, open_model_file
from graphs.errors import CheckpointError
from graphs.program import LoraUse, ModelFile, WeightRecipe

log = logging.getLogger(__name__)

Loader = Callable[[], torch.Tensor]
FindFile = Callable[[ModelFile], Path]

# Endings of the pair, as (up, down, middle), in the traditions' words.
_PAIRS = (
    (".lora_up.weight", ".lora_down.weight", ".lora_mid.weight"),
    (".lora_B.weight", ".lora_A.weight", None),
    (".lora_B.default.weight", ".lora_A.default.weight", None),
    (".lora.up.weight", ".lora.down.weight", None),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight", None),
    (".up.weight", ".down.weight", None),
)
_FULL = {".diff": "weight", ".diff_b": "bias"}
# Kinds of adapters that need their own formula.
_NOT_MERGED = {
    ".hada_w1_a": "LoHa", ".lokr_w1": "LoKr", ".lokr_w1_a": "LoKr", ".dora_scale": "DoRA", ".oft_blocks": "OFT",
    ".oft_diag": "OFT", ".a1.weight": "GLoRA",
}  # fmt: skip


@dataclass(frozen=True)
class _Delta:
    """What one file adds to one tensor: up @ down (through middle), or a full difference."""

    tensors: ModelTensors
    up: str
    down: str | None
    middle: str | None
    alpha: str | None

    def compute(self) -> torch.Tensor:
        up = self.tensors.tensor(self.up).float()
        if self.down is None:
            return up
        down = self.tensors.tensor(self.down).float()
        rank, tail = down.shape[0], down.shape[1:]
        if self.middle is not None:
            # A convolution of rank x rank between the two 1x1 ones.
            middle = self.tensors.tensor(self.middle).float()
            product = torch.einsum("or,rsxy,si->oixy", up.flatten(1), middle, down.flatten(1))
        else:
            product = (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *tail)
        return product * (float(self.tensors.tensor(self.alpha)) / rank if self.alpha is not None else 1.0)


def flattened(recipe: WeightRecipe) -> tuple[ModelFile, tuple[LoraUse, ...]]:
    """The base file of a chain of recipes and its LoRAs, first merged first."""
    if isinstance(recipe.base, ModelFile):
        return recipe.base, recipe.loras
    base, loras = flattened(recipe.base)
    return base, loras + recipe.loras


def recipe_hash(recipe: WeightRecipe, find: FindFile) -> tuple[tuple[str, str], ...]:
    """(file, sha256) of the base and (file@strength, sha256) of each LoRA: all that the merged weights hang on."""
    base, loras = flattened(recipe)
    rows = [(f"{base.kind}/{base.name}", content_hash(find(base)))]
    rows += [(f"{u.file.kind}/{u.file.name}@{u.strength!r}", content_hash(find(u.file))) for u in loras]
    return tuple(rows)


def merged(recipe: WeightRecipe, part: str, find: FindFile) -> Mapping[str, Loader]:
    """The tensors of a part with every LoRA merged, as loaders by key. Untouched tensors keep their stored dtype.

    Raises CheckpointError where a LoRA does not fit the checkpoint, or is of a kind that is not merged.
    """
    base, loras = flattened(recipe)
    checkpoint = open_checkpoint(find(base))
    keys = checkpoint.part(part)
    loaders: dict[str, Loader] = {key: _reader(checkpoint, part, key) for key in keys}
    if not loras:
        return loaders
    aliases = _aliases(detect(checkpoint), part, keys)
    changes: dict[str, list[tuple[float, _Delta]]] = {}
    for use in loras:
        for key, delta in _deltas(open_model_file(find(use.file)), aliases, part).items():
            changes.setdefault(key, []).append((use.strength, delta))
    for key, deltas in changes.items():
        if key in loaders:
            loaders[key] = _merger(loaders[key], deltas, key)
    return loaders


def _reader(checkpoint: Checkpoint, part: str, key: str) -> Loader:
    return lambda: checkpoint.tensor(part, key)


def _merger(read: Loader, deltas: list[tuple[float, _Delta]], key: str) -> Loader:
    def merge() -> torch.Tensor:
        weight = read().float()
        for strength, delta in deltas:
            change = delta.compute()
            if change.numel() != weight.numel():
                raise CheckpointError(
                    "a LoRA does not fit the checkpoint",
                    where=f"{delta.tensors.path}: {delta.up}",
                    expected=f"{tuple(weight.shape)} for {key}",
                    got=f"{tuple(change.shape)}",
                    hint="use a LoRA trained for this architecture",
                )
            weight = weight + strength * change.reshape(weight.shape)
        return weight

    return merge


def _aliases(architecture: Architecture, part: str, keys: Mapping[str, object]) -> dict[str, str]:
    modules = {key.removesuffix(".weight") for key in keys if key.endswith(".weight")}
    if part == "unet" and architecture.unet is not None:
        return unet_aliases(modules, architecture.unet)
    return text_aliases(modules) if part == "clip" else {}


def _deltas(tensors: ModelTensors, aliases: Mapping[str, str], part: str) -> dict[str, _Delta]:
    """What a LoRA file adds, by key of the part. Modules of the other part are passed over, unknown ones reported."""
    deltas: dict[str, _Delta] = {}
    unknown: list[str] = []
    for key in tensors:
        for ending, kind in _NOT_MERGED.items():
            if key.endswith(ending):
                raise CheckpointError(
                    "an adapter of this kind is not merged yet",
                    where=f"{tensors.path}: {key}",
                    expected="LoRA",
                    got=kind,
                )
        found = _delta(tensors, key)
        if found is None:
            continue
        name, field, delta = found
        if name in aliases:
            deltas[f"{aliases[name]}.{field}"] = delta
        elif _belongs(name) == part:
            unknown.append(key)
    if unknown:
        some = ", ".join(unknown[:5])
        log.warning("%s: %d tensors fit no module of the %s: %s", tensors.path, len(unknown), part, some)
    return deltas


def _delta(tensors: ModelTensors, key: str) -> tuple[str, str, _Delta] | None:
    """(module name, "weight" or "bias", delta) where the key is the leading tensor of one."""
    for up, down, middle in _PAIRS:
        if key.endswith(up):
            name = key.removesuffix(up)
            if name + down not in tensors:
                continue
            alpha = next((name + a for a in (".alpha", ".lora.alpha") if name + a in tensors), None)
            mid = name + middle if middle is not None and name + middle in tensors else None
            return name, "weight", _Delta(tensors, key, name + down, mid, alpha)
    for ending, field in _FULL.items():
        if key.endswith(ending):
            return key.removesuffix(ending), field, _Delta(tensors, key, None, None, None)
    return None


def _belongs(name: str) -> str:
    """The part a module name of a LoRA file speaks of."""
    return "clip" if name.startswith(("lora_te", "text_encoder", "clip_l", "base_model.model.text_encoder")) else "unet"
