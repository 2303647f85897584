"""The protocols of a backend: it builds an engine from an exported network, loads it with weights, runs it.

An engine is a file: built on one machine, loaded on another of the same fingerprint. Weights are data, in layers of
which the later wins: one engine serves every checkpoint of its architecture and every mix of LoRAs, unless the library
can only build with the weights inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from graphs.dims import Size

if TYPE_CHECKING:
    import torch

    from runtime.network_weights import NetworkWeights

# Digits of a weight's offset in an ONNX graph, and bytes of its file's name (as long as names of files get): both of
# fixed length, so that a backend can put the real ones in their place without taking the graph apart.
OFFSET_DIGITS = 20
LOCATION_BYTES = 160
# Metadata of an ONNX graph: which header the weight file must have for the graph's places to be right (its SHA-256).
LAYOUT_KEY = "weight_layout"


def weight_location(number: int) -> str:
    """The name that an ONNX graph gives the file of its weight of that number, in the order of the weight file."""
    return f"weight{number:06d}".ljust(LOCATION_BYTES, "_")


@dataclass(frozen=True)
class TensorSpec:
    """dtype: "float32", "float16", "bfloat16", "int64", "int32", "uint8"."""

    name: str
    dtype: str
    shape: tuple[Size, ...]


@dataclass(frozen=True)
class EngineSpec:
    """What an engine is built for. profile: dynamic dimension -> (min, opt, max), in the network's units (latents,
    tokens)."""

    precision: str
    device: str  # "cpu", "cuda"
    profile: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()  # compute capabilities for ahead-of-time builds: ("sm89", "sm120")


@dataclass(frozen=True)
class LoadSpec:
    """Where and how an engine runs. device: with its index, as torch names it ("cpu", "cuda:1"). threads: 0 is the
    library's default. arena: scratch memory to share; None where each engine may have its own."""

    device: str = "cpu"
    threads: int = 0
    arena: Arena | None = None


@dataclass(frozen=True)
class NetworkModel:
    """An exported network: what a backend builds from.

    graph: the artifact in the form the backend asks for (Backend.form): an ONNX skeleton without weight data in the
    dialect "onnx" or "onnx-ort" or "onnx-trt", or a weightless torch.export program ("exported-program").
    weights: layers of safetensors files with the tensors named as in graph, memory-mapped when needed. What factors
    change is multiplied out for backends whose engines carry their weights, and as in the base file for others.
    """

    kind: str
    graph: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Availability:
    """Whether a backend can build and run here; reason and hint are for people."""

    can_build: bool
    can_run: bool
    version: str = ""
    reason: str = ""
    hint: str = ""


Progress = Callable[[str, int, int], bool]  # (phase, done, total) -> False cancels


class Arena(Protocol):
    """Scratch memory of a device for engines that never run at the same time (runtime.engines.DeviceArena).

    A module that needs activations asks once, when it is loaded, and keeps what it got. Backends whose library brings
    its own allocator (every one on the CPU) ignore the arena."""

    def take(self, size_bytes: int) -> torch.Tensor:
        """(size_bytes,) uint8 on the device, shared with every other taker, contents undefined between calls."""


class Module(Protocol):
    """A loaded engine. Everything is allocated and captured when it is loaded: a call only binds and launches."""

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Runs on the device's current stream and does not wait for it. The outputs are valid until the next call of
        this module: a caller that keeps one clones it. Raises RunError."""

    def set_weights(self, changed: Mapping[str, torch.Tensor]) -> None:
        """Replaces weights by initializer name, in the shapes and dtypes of the weight file; the others stay. No call
        may be under way. Raises PlanError for a name or shape that the engine does not have."""

    def close(self) -> None:
        """Frees the memory; the module is not called again."""


class Backend(Protocol):
    name: str
    form: str  # the NetworkModel.graph form it builds from
    profiled: bool  # whether an engine is bound to the sizes of its EngineSpec.profile
    weights_inside: bool  # whether an engine is bound to the weights it was built with, and carries them
    # Whether several threads may call one module at once, each with outputs of its own. Where not, runs take turns.
    reentrant: bool

    def available(self) -> Availability: ...

    def fingerprint(self, spec: EngineSpec) -> str:
        """Library name and version, device capability: all that an engine of this spec is bound to. At load time it is
        computed again from the spec that the EngineRef records and compared with the fingerprint beside it."""

    def check(self, spec: EngineSpec) -> None:
        """Refuses, before any work, what cannot be built: a precision, a device, targets. Raises UsageError,
        DeviceError. The profile is not looked at."""

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes | memoryview:
        """Raises BuildError, DeviceError; KeyboardInterrupt cancels cleanly."""

    def load(self, engine: Path, weights: NetworkWeights, spec: LoadSpec) -> Module:
        """engine: the file of what build gave. weights: stay open until the module is closed; it asks for files or for
        tensors, whichever its library takes. Raises PlanError, DeviceError, StoreError."""
