"""The networks comfyc compiles: NETWORKS is the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from compiler.networks.network import Config, NetworkDef
from compiler.networks.text import ClipText, TextConfig
from compiler.networks.unet import UNet, UNetContext, UNetCore, UNetTime
from compiler.networks.unet_config import UNetConfig, context_sizes, time_sizes
from compiler.networks.vae import VaeConfig, VaeDecoder, VaeDecoderU8, VaeEncoder
from graphs.errors import CheckpointError
from runtime.backends.backend import TensorSpec

if TYPE_CHECKING:
    from torch import nn

    from compiler.checkpoint import Architecture

Specs = tuple[TensorSpec, ...]
F32 = "float32"


def _config_of(part: str) -> Callable[[Architecture, Mapping[str, Any]], Config]:
    def configure(architecture: Architecture, options: Mapping[str, Any]) -> Config:
        config = getattr(architecture, part)
        if config is None:
            raise CheckpointError(f"the file holds no {part}", hint="use a full checkpoint, or the loader of that part")
        return replace(config, **{name: value for name, value in options.items() if value is not None})

    return configure


def _latent(name: str, config: UNetConfig, channels: int) -> TensorSpec:
    return TensorSpec(name, F32, ("batch", channels, "height", "width"))


def _eps(config: UNetConfig) -> Specs:
    return (_latent("eps", config, config.out_channels),)


def _unet_inputs(config: UNetConfig) -> Specs:
    return (
        _latent("x", config, config.in_channels),
        TensorSpec("timesteps", F32, ("batch",)),
        TensorSpec("context", F32, ("batch", "text", config.context_width)),
    )


def _core_inputs(config: UNetConfig) -> Specs:
    return (
        _latent("x", config, config.in_channels),
        TensorSpec("time", F32, ("batch", sum(time_sizes(config)))),
        TensorSpec("context_kv", F32, ("batch", "text", sum(context_sizes(config)))),
    )


def _pixels(config: VaeConfig, dtype: str) -> TensorSpec:
    """Height and width of pictures are multiples of the latent's: "height*8" in the graph's own terms."""
    scale = config.downscale
    return TensorSpec("image", dtype, ("batch", f"height*{scale}", f"width*{scale}", config.image_channels))


def _vae_latent(config: VaeConfig) -> TensorSpec:
    return TensorSpec("latent", F32, ("batch", config.embed_channels, "height", "width"))


def _unet(kind: str, module: Callable[[Config], nn.Module], inputs: Callable[[Config], Specs],
          outputs: Callable[[Config], Specs] = _eps) -> NetworkDef:  # fmt: skip
    return NetworkDef(kind, "unet", _config_of("unet"), module, inputs, outputs)


def _vae(kind: str, module: Callable[[Config], nn.Module], inputs: Callable[[Config], Specs],
         outputs: Callable[[Config], Specs]) -> NetworkDef:  # fmt: skip
    return NetworkDef(kind, "vae", _config_of("vae"), module, inputs, outputs)


_NETWORKS = (
    _unet("unet", UNet, _unet_inputs),
    _unet("unet_core", UNetCore, _core_inputs),
    _unet(
        "unet_time",
        UNetTime,
        lambda c: (TensorSpec("timesteps", F32, ("steps",)),),
        lambda c: (TensorSpec("time", F32, ("steps", sum(time_sizes(c)))),),
    ),
    _unet(
        "unet_context",
        UNetContext,
        lambda c: (TensorSpec("context", F32, ("batch", "text", c.context_width)),),
        lambda c: (TensorSpec("context_kv", F32, ("batch", "text", sum(context_sizes(c)))),),
    ),
    _vae("vae_decoder", VaeDecoder, lambda c: (_vae_latent(c),), lambda c: (_pixels(c, F32),)),
    _vae("vae_decoder_u8", VaeDecoderU8, lambda c: (_vae_latent(c),), lambda c: (_pixels(c, "uint8"),)),
    _vae("vae_encoder", VaeEncoder, lambda c: (_pixels(c, F32),), lambda c: (_vae_latent(c),)),
    NetworkDef(
        "clip_text",
        "clip",
        _config_of("clip"),
        ClipText,
        lambda c: (
            TensorSpec("tokens", "int64", ("batch", c.positions)),
            TensorSpec("override", F32, ("batch", c.positions, c.width)),
            TensorSpec("override_mask", F32, ("batch", c.positions, 1)),
        ),
        lambda c: (
            TensorSpec("hidden", F32, ("batch", c.positions, c.width)),
            TensorSpec("pooled", F32, ("batch", c.width)),
        ),
    ),
)

NETWORKS: Mapping[str, NetworkDef] = MappingProxyType({n.kind: n for n in _NETWORKS})

__all__ = ["NETWORKS", "NetworkDef", "TextConfig", "UNetConfig", "VaeConfig"]
