"""What the compiler knows of a network: how to configure it from a checkpoint, build it, and what goes in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from runtime.backends.backend import TensorSpec

if TYPE_CHECKING:
    from torch import nn

Json = Any
Config = Any  # a frozen dataclass of the network's own
# sides: every side of every picture (cond and uncond); pictures: each picture; hints: one for all pictures, or each;
# texts: the chunks of a prompt; one: a single row.
Batch = Literal["sides", "pictures", "hints", "texts", "one"]


@dataclass(frozen=True)
class NetworkDef:
    """part: which part of a checkpoint holds the weights ("unet", "vae", "clip_l", ...).

    configure(parts, options), parts being the configs of a file's parts, raises CheckpointError where the file lacks
    the part. module(config) builds the torch module, also on the meta device; its parameter names are the checkpoint's
    keys without the part's prefix. batch: the rows of its dynamic batch, as compiler.linking.engine_sizes counts
    them. forms: the kinds that the same weights are in another form (graphs.roles).
    """

    kind: str
    part: str
    configure: Callable[[Mapping[str, Config], Mapping[str, Json]], Config]
    module: Callable[[Config], nn.Module]
    inputs: Callable[[Config], tuple[TensorSpec, ...]]
    outputs: Callable[[Config], tuple[TensorSpec, ...]]
    batch: Batch = "sides"
    forms: Mapping[str, str] = field(default_factory=dict)
