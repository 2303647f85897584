"""Finds what a LoRA file changes in a part of a checkpoint, and merges it: in float32, W + strength * change(W)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from compiler.families import encoders
from compiler.families.family import Encoder
from compiler.models.architecture import detect
from compiler.models.checkpoint import Checkpoint, list_some
from compiler.models.lora_kinds import OF_BIAS, Group, role_of, split
from compiler.models.lora_names import speaks_of, text_aliases, unet_aliases
from compiler.models.model_file import ModelTensors, open_model_file
from graphs.errors import CheckpointError
from runtime.adapters import Adapter, adapted, misfit, shapes

log = logging.getLogger(__name__)

Loader = Callable[[], torch.Tensor]


def lora_groups(checkpoint: Checkpoint, part: str, path: Path) -> dict[str, tuple[Group, ...]]:
    """Key of the part -> what a file changes it by, one after the other.

    checkpoint: the base file, whose architecture says how LoRA files call its modules. Modules that fit none of the
    part are listed in a warning; those of the other part are passed over. Raises CheckpointError where the file does
    not fit the checkpoint, or is of a kind that is not merged.
    """
    tensors = open_model_file(path)
    architecture, keys = detect(checkpoint), checkpoint.part(part)
    encoder = encoders(architecture.family).get(part)
    modules = {key.removesuffix(".weight") for key in keys if key.endswith(".weight")}
    if encoder is not None:
        aliases = text_aliases(modules, encoder)
    else:
        aliases = unet_aliases(modules, architecture.parts[part]) if part == "unet" else {}
    found: dict[str, tuple[Group, ...]] = {}
    for key, group in _changes(tensors, aliases, part, encoder):
        if key not in keys:
            raise CheckpointError(
                "a LoRA changes a tensor that the checkpoint lacks", where=f"{tensors.path}: {group.name}",
                expected=f"'{key}' in {checkpoint.path}", hint="use a LoRA trained for this architecture",
            )  # fmt: skip
        found[key] = (*found.get(key, ()), group)
    return found


def merger(read: Loader, groups: Sequence[Group], strength: float, key: str) -> Loader:
    """A loader of what `read` gives with the groups merged on top, float32. Raises CheckpointError when it is called
    and they do not fit."""

    def merge() -> torch.Tensor:
        weight = read().to(torch.float32)
        for group in groups:
            adapter = fitting(group, tuple(weight.shape), key)
            try:
                weight = adapted(weight, adapter, strength)
            except RuntimeError as error:  # no memory, or a matrix without an inverse
                raise _misfit(group, adapter, tuple(weight.shape), key, str(error).splitlines()[0]) from None
        return weight

    return merge


def fitting(group: Group, shape: tuple[int, ...], key: str) -> Adapter:
    """The group's adapter. Raises CheckpointError where it makes no change of a weight of that shape."""
    adapter = group.adapter()
    if reason := misfit(adapter, shape):
        raise _misfit(group, adapter, shape, key, reason)
    return adapter


def _has_kronecker_core(keys: Mapping[str, str]) -> bool:
    """Of LoKr, where the second factor is made of a core tensor and two matrices."""
    return {"lokr_t2", "lokr_w2_a", "lokr_w2_b"} <= keys.keys() and "lokr_w2" not in keys


def _misfit(group: Group, adapter: Adapter, shape: tuple[int, ...], key: str, reason: str) -> CheckpointError:
    return CheckpointError(
        "a LoRA does not fit the checkpoint", where=f"{group.tensors.path}: {group.name}",
        expected=f"tensors that make up {list(shape)} for {key}", got=f"{shapes(adapter)} ({reason})",
        hint="use a LoRA trained for this architecture",
    )  # fmt: skip


def _changes(
    tensors: ModelTensors, aliases: Mapping[str, str], part: str, encoder: Encoder | None
) -> list[tuple[str, Group]]:
    """(key of the part, what changes it) for all modules of a file that fit the part."""
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
    changes: list[tuple[str, Group]] = []
    halves: list[str] = []
    with_core = [name for name, keys in groups.items() if _has_kronecker_core(keys)]
    for name in with_core:
        groups[name] = {role: key for role, key in groups[name].items() if role == OF_BIAS}
    if with_core:
        log.warning(
            "%s: %d modules of the %s are Kronecker products with a core tensor (lokr_t2), which ComfyUI fails to"
            " multiply out and leaves as they are; so they are here, for the same picture: %s",
            tensors.path, len(with_core), part, list_some(with_core),
        )  # fmt: skip
    for name, keys in groups.items():
        if not keys:
            continue
        found_in = split(Group(tensors, name, keys))
        changes += [(f"{aliases[name]}.{kind}", group) for kind, group in found_in.items()]
        halves += [] if found_in else [f"{name} ({', '.join(sorted(keys))})"]
    if halves:
        log.warning(
            "%s: %d modules of the %s have no whole adapter and are left as they are: %s",
            tensors.path, len(halves), part, list_some(halves),
        )  # fmt: skip
    return changes
