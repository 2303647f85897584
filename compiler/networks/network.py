"""What the compiler knows of a network: how to configure it from a checkpoint, build it, and what goes in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.backends.backend import TensorSpec

if TYPE_CHECKING:
    from torch import nn

Json = Any
Config = Any  # a frozen dataclass of the network's own


@dataclass(frozen=True)
class NetworkDef:
    """part: which part of a checkpoint holds the weights ("unet", "vae", "clip_l", ...).

    configure(parts, options), parts being the configs of a file's parts, raises CheckpointError where the file lacks
    the part. module(config) builds the torch module, also on the meta device; its parameter names are the checkpoint's
    keys without the part's prefix.
    """

    kind: str
    part: str
    configure: Callable[[Mapping[str, Config], Mapping[str, Json]], Config]
    module: Callable[[Config], nn.Module]
    inputs: Callable[[Config], tuple[TensorSpec, ...]]
    outputs: Callable[[Config], tuple[TensorSpec, ...]]
