"""TensorRT-RTX, the build half: engines for NVIDIA GPUs, made on any machine, with or without a GPU.

The builder runs in a process of its own (runtime.backends.tensorrt_builder) and this file is the side that asks: see
docs/adr/0005-tensorrt-engines-are-built-in-a-child-process.md. Running the engines needs a GPU and is not part of this
version. What an engine here shares between checkpoints: docs/adr/0006-tensorrt-engines-carry-their-weights.md.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from graphs.dims import Size
from graphs.errors import BuildError, DeviceError, UsageError
from graphs.plan import PRECISIONS
from runtime.backends.backend import Availability, EngineSpec, LoadSpec, Module, NetworkModel, Progress, TensorSpec
from runtime.backends.build_process import Built, run_build
from runtime.network_weights import NetworkWeights

log = logging.getLogger(__name__)

BINDINGS = "tensorrt_rtx_bindings"
_PACKAGE = "tensorrt-rtx-cu13-bindings"
_BUILDER = "runtime.backends.tensorrt_builder"

# Every GPU that TensorRT-RTX 1.7 builds for. Data-centre GPUs of the Hopper and Blackwell kind are not among them.
TARGETS: Mapping[str, str] = MappingProxyType(
    {
        "sm75": "Turing: RTX 20, T4",
        "sm80": "Ampere: A100",
        "sm86": "Ampere: RTX 30, A10",
        "sm89": "Ada: RTX 40, L4, L40",
        "sm120": "Blackwell: RTX 50",
        "sm121": "Blackwell: GB10",
    }
)
NOT_RUN = "running TensorRT engines needs an NVIDIA GPU and is not part of this version, which builds them only"
_RUN_HINT = "compile with --backend onnxruntime to make pictures on this machine"


class TensorRtBackend:
    name = "tensorrt"
    form = "onnx-trt"
    profiled = True
    weights_inside = True
    reentrant = False

    def available(self) -> Availability:
        """Looks for the library without loading it."""
        if importlib.util.find_spec(BINDINGS) is None:
            return Availability(
                False, False, "", "TensorRT-RTX is not installed (and this version builds its engines only)",
                'pip install "comfyc[tensorrt-rtx]" (it has wheels for Linux and Windows on x86-64)',
            )  # fmt: skip
        return Availability(True, False, _version(), NOT_RUN, _RUN_HINT)

    def fingerprint(self, spec: EngineSpec) -> str:
        sizes = " ".join(f"{name}={low}:{opt}:{high}" for name, (low, opt, high) in sorted(spec.profile.items()))
        return f"tensorrt-rtx {_version()} {','.join(spec.targets)} {spec.precision} {sizes}".rstrip()

    def check(self, spec: EngineSpec) -> None:
        if not spec.targets:
            hint = "for example --target sm86,sm89,sm120 for RTX 30, 40 and 50"
            raise UsageError("TensorRT engines are built for named GPUs: none was named with --target", hint=hint)
        for target in spec.targets:
            if target not in TARGETS:
                raise UsageError(
                    "TensorRT-RTX does not build for this GPU", where="--target", expected=", ".join(TARGETS),
                    got=target, hint="it is made for the GPUs of PCs and workstations" if target == "sm90" else None,
                )  # fmt: skip
        if spec.precision not in PRECISIONS:
            raise UsageError("no such precision", where="tensorrt", expected=", ".join(PRECISIONS), got=spec.precision)
        if spec.precision == "bf16" and "sm75" in spec.targets:
            hint = "use fp16, or leave sm75 out of --target"
            raise UsageError("sm75 has no bf16", where="--precision bf16", hint=hint)

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> memoryview:
        return self.built(model, spec, progress).engine

    def built(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> Built:
        """As build, with what the builder measured. Raises UsageError, BuildError, DeviceError, KeyboardInterrupt."""
        self.check(spec)
        if not model.weights:
            raise BuildError("no weight file was given, and engines here carry their weights", where=model.kind)
        request = {
            "kind": model.kind,
            "weights": [str(path) for path in model.weights],
            "targets": list(spec.targets),
            "shapes": shapes(model.inputs, spec.profile, model.kind),
        }
        return run_build(_BUILDER, request, model.graph, progress)

    def load(self, engine: Path, weights: NetworkWeights, spec: LoadSpec) -> Module:
        raise DeviceError(NOT_RUN, hint=_RUN_HINT)


def shapes(
    inputs: tuple[TensorSpec, ...], profile: Mapping[str, tuple[int, int, int]], where: str
) -> dict[str, list[list[int]]]:
    """Input name -> its smallest, usual and largest shape; inputs of one fixed shape are left out.

    Raises BuildError for a dynamic size without bounds, or bounds out of order: the library takes both and fails later.
    """
    found: dict[str, list[list[int]]] = {}
    for spec in inputs:
        if all(isinstance(size, int) for size in spec.shape):
            continue
        bounds = [_bounds(size, profile, where) for size in spec.shape]
        found[spec.name] = [[size[i] for size in bounds] for i in range(3)]
    return found


def _bounds(size: Size, profile: Mapping[str, tuple[int, int, int]], where: str) -> tuple[int, int, int]:
    if isinstance(size, int):
        return size, size, size
    if size.name not in profile:
        raise BuildError(f"the size {size.name!r} has no bounds", where=where, expected=", ".join(sorted(profile)))
    low, opt, high = (size.size(value) for value in profile[size.name])
    if not 0 < low <= opt <= high:
        got = f"{low}, {opt}, {high}"
        what = f"the bounds of {size.name!r} are out of order"
        raise BuildError(what, where=where, expected="min <= opt <= max", got=got)
    return low, opt, high


def _version() -> str:
    try:
        return importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
