"""What a ControlNet file is: its architecture, and whether it fits a model.

Files are in the original layout, with or without the prefix "control_model.", or in that of diffusers; everything else
is refused by name.
"""

from __future__ import annotations

from functools import lru_cache

from compiler.models.architecture import Architecture, Shapes, encoder_config
from compiler.models.checkpoint import Checkpoint, list_some, require_whole
from compiler.models.recognition import control_kind
from compiler.networks.controlnet import HINT_STRIDES, ControlNetConfig
from compiler.networks.unet_config import UNetConfig, residual_sizes
from graphs.errors import CheckpointError

USE_SD1 = "use a ControlNet made for Stable Diffusion 1.x"


@lru_cache(maxsize=16)
def detect_control(checkpoint: Checkpoint) -> Architecture:
    """The architecture from keys and shapes.

    Raises CheckpointError for files that hold no ControlNet of Stable Diffusion 1 (named), and for weights that are
    missing or of an impossible shape (listed).
    """
    where = str(checkpoint.path)
    foreign = control_kind(checkpoint.tensors)
    if foreign is not None:
        raise _no_control(where, *foreign)
    infos = checkpoint.part("controlnet")
    if not infos:
        if "unet" in checkpoint.names:
            raise _no_control(where, "a checkpoint", "load it with a checkpoint loader")
        got = f"{len(checkpoint.tensors)} tensors: {list_some(sorted(checkpoint.tensors))}"
        raise _no_control(where, got, USE_SD1)
    config = control_config(Shapes({key: info.shape for key, info in infos.items()}, f"{where} (controlnet)"))
    architecture = Architecture(family="sd15", controlnet=config)
    require_whole(checkpoint, architecture)
    return architecture


def control_config(control: Shapes) -> ControlNetConfig:
    """Raises CheckpointError where the shapes are of no ControlNet of Stable Diffusion 1."""
    in_channels = control.of("input_blocks.0.0.weight", 4)[1]
    try:
        encoder = encoder_config(control, in_channels)
    except CheckpointError as error:
        if error.expected == "Stable Diffusion 1":
            raise _no_control(control.where, f"a ControlNet for {error.got}", USE_SD1) from None
        raise
    convs = [control.of(f"input_hint_block.{2 * number}.weight", 4) for number in range(len(HINT_STRIDES))]
    return ControlNetConfig(encoder, convs[0][1], tuple(shape[0] for shape in convs[:-1]))


def require_fit(control: ControlNetConfig, unet: UNetConfig, where: str) -> None:
    """Raises CheckpointError where the residuals do not fit the U-Net, or the ControlNet takes another text."""
    wanted, got = (_in_words(config) for config in (unet, control.encoder))
    fits = residual_sizes(control.encoder) == residual_sizes(unet)
    same_text = control.encoder.context_width == unet.context_width
    if not fits or not same_text or control.encoder.in_channels != unet.out_channels:
        raise CheckpointError(
            "the ControlNet does not fit the model", where=where, expected=wanted, got=got,
            hint="use a ControlNet trained for this architecture",
        )  # fmt: skip


def _in_words(config: UNetConfig) -> str:
    levels = ", ".join(f"{count} x {width}" for count, width in zip(config.res_blocks, config.widths, strict=True))
    return f"{config.in_channels} latent channels, levels of {levels} channels, text of width {config.context_width}"


def _no_control(where: str, got: str, hint: str) -> CheckpointError:
    return CheckpointError(
        "the file is no ControlNet that is compiled", where=where, expected="a ControlNet of Stable Diffusion 1",
        got=got, hint=hint,
    )  # fmt: skip
