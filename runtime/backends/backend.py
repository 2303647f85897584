"""What a backend is: builds engine bytes from an exported network, loads them with weights, runs them.

bytes are the contract: build on one machine, load on another of the same fingerprint. Weights are data: one engine
serves every checkpoint of its architecture, unless the library can only build with the weights inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from graphs.dims import Size

if TYPE_CHECKING:
    import torch

# The name that ONNX graphs give their weight file: as long as a file's name gets, so that a backend can put the real
# one in its place without taking the graph apart.
WEIGHTS_LOCATION = "weights".ljust(160, "_")
# Metadata of an ONNX graph: which header the weight file must have for the graph's places to be right (its SHA-256).
LAYOUT_KEY = "weight_layout"


@dataclass(frozen=True)
class TensorSpec:
    """dtype: "float32", "float16", "bfloat16", "int64", "int32", "uint8"."""

    name: str
    dtype: str
    shape: tuple[Size, ...]


@dataclass(frozen=True)
class EngineSpec:
    """What to build for. profile: dynamic dimension -> (min, opt, max), in the network's units (latents, tokens)."""

    precision: str
    device: str  # "cpu", "cuda"
    profile: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()  # compute capabilities for ahead-of-time builds: ("sm89", "sm120")
    threads: int = 0  # 0: the library's default


@dataclass(frozen=True)
class NetworkModel:
    """An exported network: what a backend builds from.

    graph: the artifact in the form the backend asks for (Backend.form): an ONNX skeleton without weight data in the
    dialect "onnx" or "onnx-ort" or "onnx-trt", or a weightless torch.export program ("exported-program").
    weights_file: safetensors with the tensors named as in graph, memory-mapped when needed.
    """

    kind: str
    graph: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights_file: str | None = None


@dataclass(frozen=True)
class Availability:
    """Whether a backend can build and run here; reason and hint are for people."""

    can_build: bool
    can_run: bool
    version: str = ""
    reason: str = ""
    hint: str = ""


Progress = Callable[[str, int, int], bool]  # (phase, done, total) -> False cancels


class Module(Protocol):
    """A loaded engine. A call only binds and launches."""

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]: ...

    def close(self) -> None: ...


class Backend(Protocol):
    name: str
    form: str  # the NetworkModel.graph form it builds from
    profiled: bool  # whether an engine is bound to the sizes of its EngineSpec.profile
    weights_inside: bool  # whether an engine is bound to the weights it was built with, and carries them

    def available(self) -> Availability: ...

    def fingerprint(self, spec: EngineSpec) -> str:
        """Library name and version, device capability: what an engine is bound to."""

    def check(self, spec: EngineSpec) -> None:
        """Refuses, before any work, what cannot be built: a precision, a device, targets. Raises UsageError,
        DeviceError. The profile is not looked at."""

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes | memoryview:
        """Raises BuildError, DeviceError; KeyboardInterrupt cancels cleanly."""

    def load(self, engine: bytes, weights_file: str | None, spec: EngineSpec) -> Module:
        """weights_file: safetensors, memory-mapped. Raises PlanError, DeviceError."""
