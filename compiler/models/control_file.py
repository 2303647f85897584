"""What a ControlNet file is: its architecture, and whether it fits a model.

Files are in the original layout, with or without the prefix "control_model.", or in that of diffusers; everything else
is refused by name.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from compiler.families import family_of
from compiler.families.parts import CONTROLNET, UNET
from compiler.models.architecture import COMPILED, Architecture, require_whole
from compiler.models.checkpoint import Checkpoint, list_some
from compiler.models.recognition import control_kind
from compiler.networks.controlnet import ControlNetConfig
from compiler.networks.unet_config import UNetConfig, residual_sizes
from graphs.errors import CheckpointError

USE_COMPILED = "use a ControlNet made for the family of the model"


@lru_cache(maxsize=16)
def detect_control(checkpoint: Checkpoint) -> Architecture:
    """The architecture from keys and shapes.

    Raises CheckpointError for files that hold no ControlNet of a family that is compiled (named), and for weights that
    are missing or of an impossible shape (listed).
    """
    where = str(checkpoint.path)
    foreign = control_kind(checkpoint.tensors)
    if foreign is not None:
        raise _no_control(where, *foreign)
    if CONTROLNET.name not in checkpoint.names:
        if UNET.name in checkpoint.names:
            raise _no_control(where, "a checkpoint", "load it with a checkpoint loader")
        got = f"{len(checkpoint.tensors)} tensors: {list_some(sorted(checkpoint.tensors))}"
        raise _no_control(where, got, USE_COMPILED)
    config: ControlNetConfig = CONTROLNET.config(checkpoint.shapes(CONTROLNET.name))
    family = family_of(UNET.name, config.encoder)
    if family is None:
        raise _no_control(where, "a ControlNet of another family", USE_COMPILED)
    config = replace(config, encoder=family.completed(config.encoder))
    architecture = Architecture(family, {CONTROLNET.name: config})
    require_whole(checkpoint, architecture)
    return architecture


def require_fit(control: ControlNetConfig, unet: UNetConfig, where: str) -> None:
    """Raises CheckpointError where the residuals do not fit the U-Net, or the ControlNet takes another text or vector.
    An inpainting U-Net takes more channels than the latent has, its ControlNet does not."""
    wanted, got = (_in_words(config) for config in (unet, control.encoder))
    encoder = control.encoder
    fits = residual_sizes(encoder) == residual_sizes(unet)
    same_text = (encoder.context_width, encoder.vector_width) == (unet.context_width, unet.vector_width)
    if not fits or not same_text or encoder.in_channels != unet.out_channels:
        raise CheckpointError(
            "the ControlNet does not fit the model", where=where, expected=wanted, got=got,
            hint="use a ControlNet trained for this architecture",
        )  # fmt: skip


def _in_words(config: UNetConfig) -> str:
    levels = ", ".join(f"{count} x {width}" for count, width in zip(config.res_blocks, config.widths, strict=True))
    vector = f", a vector of width {config.vector_width}" if config.vector_width else ""
    text = f"text of width {config.context_width}{vector}"
    return f"{config.in_channels} latent channels, levels of {levels} channels, {text}"


def _no_control(where: str, got: str, hint: str) -> CheckpointError:
    return CheckpointError(
        "the file is no ControlNet that is compiled", where=where, expected=f"a ControlNet for {COMPILED}", got=got,
        hint=hint,
    )  # fmt: skip
