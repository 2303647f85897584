"""The networks comfyc compiles: NETWORKS is the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from compiler.networks.controlnet import (
    HINT_STRIDES,
    ControlNetConfig,
    ControlNetContext,
    ControlNetCore,
    ControlNetHint,
    ControlNetStep,
    ControlNetTime,
    control_context_sizes,
    control_time_sizes,
)
from compiler.networks.network import Batch, Config, NetworkDef
from compiler.networks.text import ClipText, TextConfig
from compiler.networks.unet import UNet, UNetContext, UNetControl, UNetCore, UNetCoreControl, UNetTime
from compiler.networks.unet_config import UNetConfig, context_sizes, residual_sizes, time_sizes
from compiler.networks.vae import VaeConfig, VaeDecoder, VaeDecoderU8, VaeEncoder
from graphs.dims import Dim
from graphs.errors import CheckpointError
from graphs.roles import CONTEXT, CONTROLLED, CORE, TIME, U8
from runtime.backends.backend import TensorSpec

if TYPE_CHECKING:
    from torch import nn

Specs = tuple[TensorSpec, ...]
F32 = "float32"
BATCH, HEIGHT, WIDTH, TEXT, STEPS = (Dim(name) for name in ("batch", "height", "width", "text", "steps"))


def _config_of(part: str) -> Callable[[Mapping[str, Config], Mapping[str, Any]], Config]:
    def configure(parts: Mapping[str, Config], options: Mapping[str, Any]) -> Config:
        if part not in parts:
            raise CheckpointError(f"the file holds no {part}", hint="use a full checkpoint, or the loader of that part")
        return replace(parts[part], **{name: value for name, value in options.items() if value is not None})

    return configure


def _latent(name: str, config: UNetConfig, channels: int) -> TensorSpec:
    return TensorSpec(name, F32, (BATCH, channels, HEIGHT, WIDTH))


def _eps(config: UNetConfig) -> Specs:
    return (_latent("eps", config, config.out_channels),)


def _vector(config: UNetConfig, rows: Dim) -> Specs:
    return (TensorSpec("vector", F32, (rows, config.vector_width)),) if config.vector_width else ()


def _whole_inputs(config: UNetConfig) -> Specs:
    """All that a network takes besides the latent and the hint, nothing hoisted."""
    return (
        TensorSpec("timesteps", F32, (BATCH,)),
        TensorSpec("context", F32, (BATCH, TEXT, config.context_width)),
        *_vector(config, BATCH),
    )


def _time_inputs(config: UNetConfig) -> Specs:
    return (TensorSpec("timesteps", F32, (STEPS,)), *_vector(config, STEPS))


def _unet_inputs(config: UNetConfig) -> Specs:
    return (_latent("x", config, config.in_channels), *_whole_inputs(config))


def _core_inputs(config: UNetConfig) -> Specs:
    return (
        _latent("x", config, config.in_channels),
        TensorSpec("time", F32, (BATCH, sum(time_sizes(config)))),
        TensorSpec("context_kv", F32, (BATCH, TEXT, sum(context_sizes(config)))),
    )


def _residuals(config: UNetConfig) -> Specs:
    """The outputs of a ControlNet, which the U-Net adds: at the latent's size, halved some times."""

    def side(name: str, halvings: int) -> Dim:
        return Dim(name, over=2**halvings)

    return tuple(
        TensorSpec(f"control_{number}", F32, (BATCH, width, side("height", halvings), side("width", halvings)))
        for number, (width, halvings) in enumerate(residual_sizes(config))
    )


def _control_inputs(config: ControlNetConfig, *conditions: TensorSpec) -> Specs:
    latent = _latent("x", config.encoder, config.encoder.in_channels)
    return (latent, _latent("hint", config.encoder, config.encoder.model_channels), *conditions)


def _hint_image(config: ControlNetConfig) -> TensorSpec:
    scale = math.prod(HINT_STRIDES)
    return TensorSpec("hint_image", F32, (BATCH, Dim("height", scale), Dim("width", scale), config.hint_channels))


def _pixels(config: VaeConfig, dtype: str) -> TensorSpec:
    """Height and width of pictures are multiples of the latent's."""
    scale = config.downscale
    return TensorSpec("image", dtype, (BATCH, Dim("height", scale), Dim("width", scale), config.image_channels))


def _vae_latent(config: VaeConfig) -> TensorSpec:
    return TensorSpec("latent", F32, (BATCH, config.embed_channels, HEIGHT, WIDTH))


def _unet(kind: str, module: Callable[[Config], nn.Module], inputs: Callable[[Config], Specs],
          outputs: Callable[[Config], Specs] = _eps, batch: Batch = "sides") -> NetworkDef:  # fmt: skip
    return NetworkDef(kind, "unet", _config_of("unet"), module, inputs, outputs, batch)


def _vae(kind: str, module: Callable[[Config], nn.Module], inputs: Callable[[Config], Specs],
         outputs: Callable[[Config], Specs]) -> NetworkDef:  # fmt: skip
    return NetworkDef(kind, "vae", _config_of("vae"), module, inputs, outputs, "pictures")


def _control(kind: str, module: Callable[[Config], nn.Module], inputs: Callable[[Config], Specs],
             outputs: Callable[[Config], Specs], batch: Batch = "sides") -> NetworkDef:  # fmt: skip
    return NetworkDef(kind, "controlnet", _config_of("controlnet"), module, inputs, outputs, batch)


def _text(kind: str) -> NetworkDef:
    """A text encoder; its kind is the name of its part."""
    return NetworkDef(
        kind,
        kind,
        _config_of(kind),
        ClipText,
        lambda c: (
            TensorSpec("tokens", "int64", (BATCH, c.positions)),
            TensorSpec("override", F32, (BATCH, c.positions, c.width)),
            TensorSpec("override_mask", F32, (BATCH, c.positions, 1)),
        ),
        lambda c: (
            TensorSpec("hidden", F32, (BATCH, c.positions, c.width)),
            TensorSpec("pooled", F32, (BATCH, c.projection or c.width)),
        ),
        "texts",
    )


_NETWORKS = (
    _unet("unet", UNet, _unet_inputs),
    _unet("unet_core", UNetCore, _core_inputs),
    _unet("unet_control", UNetControl, lambda c: (*_unet_inputs(c), *_residuals(c))),
    _unet("unet_core_control", UNetCoreControl, lambda c: (*_core_inputs(c), *_residuals(c))),
    _unet(
        "unet_time",
        UNetTime,
        _time_inputs,
        lambda c: (TensorSpec("time", F32, (STEPS, sum(time_sizes(c)))),),
    ),
    _unet(
        "unet_context",
        UNetContext,
        lambda c: (TensorSpec("context", F32, (BATCH, TEXT, c.context_width)),),
        lambda c: (TensorSpec("context_kv", F32, (BATCH, TEXT, sum(context_sizes(c)))),),
        "one",  # texts are projected one by one
    ),
    _control(
        "controlnet",
        ControlNetStep,
        lambda c: _control_inputs(c, *_whole_inputs(c.encoder)),
        lambda c: _residuals(c.encoder),
    ),
    _control(
        "controlnet_core",
        ControlNetCore,
        lambda c: _control_inputs(
            c,
            TensorSpec("time", F32, (BATCH, sum(control_time_sizes(c)))),
            TensorSpec("context_kv", F32, (BATCH, TEXT, sum(control_context_sizes(c)))),
        ),
        lambda c: _residuals(c.encoder),
    ),
    _control(
        "controlnet_time",
        ControlNetTime,
        lambda c: _time_inputs(c.encoder),
        lambda c: (TensorSpec("time", F32, (STEPS, sum(control_time_sizes(c)))),),
    ),
    _control(
        "controlnet_context",
        ControlNetContext,
        lambda c: (TensorSpec("context", F32, (BATCH, TEXT, c.encoder.context_width)),),
        lambda c: (TensorSpec("context_kv", F32, (BATCH, TEXT, sum(control_context_sizes(c)))),),
        "one",
    ),
    _control(
        "controlnet_hint",
        ControlNetHint,
        lambda c: (_hint_image(c),),
        lambda c: (_latent("hint", c.encoder, c.encoder.model_channels),),
        "hints",
    ),
    _vae("vae_decoder", VaeDecoder, lambda c: (_vae_latent(c),), lambda c: (_pixels(c, F32),)),
    _vae("vae_decoder_u8", VaeDecoderU8, lambda c: (_vae_latent(c),), lambda c: (_pixels(c, "uint8"),)),
    _vae("vae_encoder", VaeEncoder, lambda c: (_pixels(c, F32),), lambda c: (_vae_latent(c),)),
    *(_text(encoder) for encoder in ("clip_l", "clip_g", "clip_h")),
)

# The other forms of the same weights (graphs.roles): a network without a row here is called in one form only.
_FORMS: Mapping[str, Mapping[str, str]] = {
    "unet": {CONTROLLED: "unet_control", CORE: "unet_core", CONTEXT: "unet_context", TIME: "unet_time"},
    "unet_control": {CORE: "unet_core_control", CONTEXT: "unet_context", TIME: "unet_time"},
    "controlnet": {CORE: "controlnet_core", CONTEXT: "controlnet_context", TIME: "controlnet_time"},
    "vae_decoder": {U8: "vae_decoder_u8"},
}

NETWORKS: Mapping[str, NetworkDef] = MappingProxyType(
    {n.kind: replace(n, forms=_FORMS.get(n.kind, {})) for n in _NETWORKS}
)

__all__ = ["NETWORKS", "ControlNetConfig", "NetworkDef", "TextConfig", "UNetConfig", "VaeConfig"]
