"""The architecture of a file: its family and the config of each part, read from keys and shapes (never a file name)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch

from compiler.families import FAMILIES, Family, denoiser_among, encoders, family_of
from compiler.families.parts import PARTS, UNET, VAE
from compiler.models.checkpoint import Checkpoint, list_some
from compiler.models.recognition import HARMLESS, foreign_kind
from compiler.networks import NETWORKS
from compiler.networks.network import Config
from graphs.errors import CheckpointError

logger = logging.getLogger(__name__)

COMPILED = ", ".join(family.title for family in FAMILIES)
USE_COMPILED = "use a model of one of these families with this workflow"


@dataclass(frozen=True)
class Architecture:
    """family: None for a file without a U-Net or ControlNet. parts: config by part; a part that the file lacks is not
    there."""

    family: Family | None
    parts: Mapping[str, Config] = field(default_factory=dict)


@lru_cache(maxsize=16)
def detect(checkpoint: Checkpoint) -> Architecture:
    """The architecture from keys and shapes.

    Raises CheckpointError for other families and kinds of file (named), and for weights that are missing or of an
    impossible shape (listed). Weights that no network takes are listed in a warning.
    """
    where = str(checkpoint.path)
    foreign = foreign_kind(checkpoint.tensors)
    whole = {UNET.name, VAE.name} <= checkpoint.names.keys() and checkpoint.text_parts
    if foreign and not whole:  # whole ones may carry a ControlNet besides
        raise not_compiled(where, *foreign)
    if not checkpoint.names:
        raise CheckpointError(
            "the file holds no U-Net, VAE or text encoder that is known", where=where,
            expected=f"{COMPILED}, in the original layout",
            got=f"{len(checkpoint.tensors)} tensors: {list_some(sorted(checkpoint.tensors))}",
            hint="diffusers folders and single transformer files are not read; use the single-file checkpoint",
        )  # fmt: skip
    parts = {
        name: PARTS[name].config(checkpoint.shapes(name)) for name in checkpoint.names if name != "controlnet"
    }
    family = None
    denoiser = denoiser_among(parts)
    if denoiser is not None:
        family = family_of(denoiser, parts[denoiser])
        if family is None:
            raise not_compiled(where, "a U-Net of another family")
        parts[denoiser] = family.completed(parts[denoiser])
    for name, encoder in encoders(family).items():
        if name in parts:
            projection = parts[name].projection if encoder.pooled else 0
            parts[name] = replace(parts[name], activation=encoder.activation, projection=projection)
    _check_latents(parts, family, where)
    architecture = Architecture(family, parts)
    require_whole(checkpoint, architecture)
    return architecture


def _check_latents(parts: Mapping[str, Config], family: Family | None, where: str) -> None:
    if VAE.name not in parts:
        return
    channels = parts[VAE.name].embed_channels
    if all(channels != other.latent.channels for other in ([family] if family else FAMILIES)):
        raise not_compiled(where, f"a VAE of {channels} latent channels", "use the VAE of a model of these families")


def not_compiled(where: str, got: str, hint: str = USE_COMPILED) -> CheckpointError:
    return CheckpointError(
        "the file is of an architecture that is not compiled yet", where=where, expected=COMPILED, got=got, hint=hint
    )


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
    for part, config in architecture.parts.items():
        infos = checkpoint.part(part)
        for kind in PARTS[part].networks.values():
            expected = expected_shapes(kind, config)
            prefix = PARTS[part].lacking.get(kind)
            if prefix is not None and not any(key.startswith(prefix) for key in infos):
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
    taken = {
        checkpoint.names[part][key].key
        for part, keys in used.items()
        for key in keys
        if key in checkpoint.names.get(part, {})
    }
    return tuple(sorted(k for k in checkpoint.tensors if k not in taken and not HARMLESS.match(k)))


@lru_cache(maxsize=64)
def expected_shapes(kind: str, config: Any) -> Mapping[str, tuple[int, ...]]:
    """Parameter name -> shape of a network, without allocating it."""
    with torch.device("meta"):
        module = NETWORKS[kind].module(config)
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
