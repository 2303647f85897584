"""What comfyc writes and the runtime opens: a folder with plan.json and constants.safetensors.

plan.json is versioned and readable. Engines and weights are referenced by content hash and live in the store.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphs.dims import Size
from graphs.program import Program

Json = Any
PLAN_VERSION = 3

COMPATS = ("comfyui-0.8", "comfyui-0.3")  # the ComfyUI to agree with where versions differ; the first is the default
PRECISIONS = ("fp32", "fp16", "bf16")  # of an engine
DEVICES = ("auto", "cpu", "cuda")  # to compile for


@dataclass(frozen=True)
class EngineRef:
    """A built engine in the store, and what it says it is.

    fingerprint: backend, library version, device capability. precision, device ("cpu", "cuda"), profile (dynamic
    dimension -> smallest, usual, largest) and targets are what it was built for; the fingerprint follows from them, and
    is computed from them again before the engine is loaded.
    """

    key: str
    sha256: str
    size_bytes: int
    backend: str
    fingerprint: str
    precision: str  # one of PRECISIONS
    device: str = "cpu"
    profile: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    architecture: Mapping[str, Json] = field(default_factory=dict)  # the network's config, readable
    inputs: Mapping[str, tuple[str, tuple[Size, ...]]] = field(default_factory=dict)  # name -> (dtype, shape)
    outputs: Mapping[str, tuple[str, tuple[Size, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class WeightLayer:
    """A weight file in the store: whole tensors by name, in the engine's dtype and layout; with a strength, the factors
    that a LoRA changes them by, multiplied out when an engine is loaded."""

    key: str
    sha256: str
    size_bytes: int
    strength: float | None = None


@dataclass(frozen=True)
class WeightRef:
    """The weights of a network. layers: the base file, which has every weight; a file of tensors in their place, where
    models are merged; then factors, each on top of what there is. sources: (kind/name, sha256) of the files that they
    were made from."""

    layers: tuple[WeightLayer, ...]
    sources: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("no layer of weights")
        kinds = [layer.strength is not None for layer in self.layers]
        if kinds[0] or kinds != sorted(kinds):
            raise ValueError("factors below whole tensors")
        if not all(math.isfinite(layer.strength or 0.0) for layer in self.layers):
            raise ValueError("a strength that is no number")

    @property
    def size_bytes(self) -> int:
        return sum(layer.size_bytes for layer in self.layers)


@dataclass(frozen=True)
class NetworkBinding:
    """The engine and the weights one NetworkUse runs with."""

    engine: EngineRef
    weights: WeightRef


@dataclass(frozen=True)
class Profile:
    """The sizes a plan accepts. Pixels for height and width; text in tokens (77*k)."""

    batch: tuple[int, int] = (1, 4)
    height: tuple[int, int] = (64, 1024)
    width: tuple[int, int] = (64, 1024)
    text: tuple[int, int] = (77, 770)


@dataclass(frozen=True)
class PassRecord:
    """What one pass did: for plan.json and explain."""

    name: str
    phase: str  # "graph" or "program"
    seconds: float
    changes: tuple[tuple[str, str], ...]  # (node or step, reason)


@dataclass(frozen=True)
class Plan:
    program: Program
    bindings: Mapping[str, NetworkBinding]  # NetworkUse.id -> engine and weights
    profile: Profile
    backend: str
    device: str
    compat: str  # one of COMPATS: where versions differ in noise
    prompt: Mapping[str, Json]  # API JSON of the workflow, for the picture's metadata
    workflow: Mapping[str, Json] | None = None  # UI JSON, where the input had one
    embeddings: Mapping[str, str] = field(default_factory=dict)  # named by a prompt -> "embeddings/FILE", as compiled
    passes: tuple[PassRecord, ...] = ()
    comfyc_version: str = ""
    version: int = PLAN_VERSION
