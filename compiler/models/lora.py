"""Merges a LoRA file into the weights of a part, in float32: W + strength * change(W)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from compiler.families import encoders
from compiler.families.family import Encoder
from compiler.models.architecture import detect
from compiler.models.checkpoint import Checkpoint, list_some
from compiler.models.lora_kinds import Change, Group, changes_of, role_of, set_weight
from compiler.models.lora_names import speaks_of, text_aliases, unet_aliases
from compiler.models.model_file import ModelTensors, open_model_file
from graphs.errors import CheckpointError

log = logging.getLogger(__name__)

Loader = Callable[[], torch.Tensor]


def with_lora(
    loaders: Mapping[str, Loader], checkpoint: Checkpoint, part: str, path: Path, strength: float
) -> dict[str, Loader]:
    """The tensors of a part with one file merged on top; merged tensors are float32.

    checkpoint: the base file, whose architecture says how LoRA files call its modules. Modules that fit none of the
    part are listed in a warning; those of the other part are passed over. Raises CheckpointError where the file does
    not fit the checkpoint, or is of a kind that is not merged.
    """
    tensors = open_model_file(path)
    merges: dict[str, list[_Merge]] = {}
    architecture = detect(checkpoint)
    encoder = encoders(architecture.family).get(part)
    modules = {key.removesuffix(".weight") for key in checkpoint.part(part) if key.endswith(".weight")}
    if encoder is not None:
        aliases = text_aliases(modules, encoder)
    else:
        aliases = unet_aliases(modules, architecture.parts[part]) if part == "unet" else {}
    for key, group, change in _changes(tensors, aliases, part, encoder):
        if key not in loaders:
            raise CheckpointError(
                "a LoRA changes a tensor that the checkpoint lacks", where=f"{tensors.path}: {group.name}",
                expected=f"'{key}' in {checkpoint.path}", hint="use a LoRA trained for this architecture",
            )  # fmt: skip
        merges.setdefault(key, []).append(_Merge(1.0 if change is set_weight else strength, group, change))
    return {key: _merger(loader, merges[key], key) if key in merges else loader for key, loader in loaders.items()}


@dataclass(frozen=True)
class _Merge:
    strength: float
    group: Group
    change: Change


def _merger(read: Loader, merges: Sequence[_Merge], key: str) -> Loader:
    def merge() -> torch.Tensor:
        weight = read().to(torch.float32)
        for use in merges:
            try:
                weight = weight + use.strength * use.change(use.group, weight)
            except (ArithmeticError, IndexError, RuntimeError, ValueError) as error:  # the shapes do not go together
                shapes = {role: list(use.group.tensors[name].shape) for role, name in use.group.keys.items()}
                raise CheckpointError(
                    "a LoRA does not fit the checkpoint", where=f"{use.group.tensors.path}: {use.group.name}",
                    expected=f"tensors that make up {list(weight.shape)} for {key}",
                    got=f"{shapes} ({str(error).splitlines()[0]})", hint="use a LoRA trained for this architecture",
                ) from None  # fmt: skip
        return weight

    return merge


def _changes(
    tensors: ModelTensors, aliases: Mapping[str, str], part: str, encoder: Encoder | None
) -> list[tuple[str, Group, Change]]:
    """(key of the part, the module's tensors, what they change) for all modules of a file that fit the part."""
    groups: dict[str, dict[str, str]] = {}
    strange: list[str] = []
    for key in tensors:
        found = role_of(key)
        if found is None or (found[0] not in aliases and speaks_of(found[0], encoder)):
            strange.append(key)
        elif found[0] in aliases:
            groups.setdefault(found[0], {})[found[1]] = key
    if strange:
        log.warning(
            "%s: %d of %d tensors fit no module of the %s and are left out: %s",
            tensors.path, len(strange), len(tensors), part, list_some(strange),
        )  # fmt: skip
    changes: list[tuple[str, Group, Change]] = []
    halves: list[str] = []
    for name, keys in groups.items():
        group = Group(tensors, name, keys)
        made = changes_of(group)
        changes += [(f"{aliases[name]}.{kind}", group, change) for kind, change in made.items()]
        halves += [] if made else [f"{name} ({', '.join(sorted(keys))})"]
    if halves:
        log.warning(
            "%s: %d modules of the %s have no whole adapter and are left as they are: %s",
            tensors.path, len(halves), part, list_some(halves),
        )  # fmt: skip
    return changes
