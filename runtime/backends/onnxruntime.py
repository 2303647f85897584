"""ONNX Runtime on the CPU.

Engine bytes are the weightless ONNX skeleton in the "onnx-ort" dialect. load() names the weight file in it, which the
session then maps: given as tensors, onnxruntime copies every weight. Tensors go in and out through DLPack, without a
copy. Why networks are optimised as they are: docs/adr/0010-cpu-engines.md.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch

from graphs.errors import BuildError, DeviceError, PlanError, RunError
from runtime.backends.backend import WEIGHTS_LOCATION, Availability, EngineSpec, NetworkModel, Progress
from runtime.mapped import header_fingerprint

ort.disable_telemetry_events()
_FATAL = 4  # log severity: what matters arrives as an exception
_LARGE_BYTES = 1 << 30


class OrtModule:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = {i.name: _TORCH_DTYPES[i.type] for i in session.get_inputs()}
        self._outputs = [o.name for o in session.get_outputs()]

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Raises RunError when an input is missing, of another dtype, or of a shape the network cannot take."""
        feed = {}
        for name, dtype in self._inputs.items():
            tensor = inputs.get(name)
            if tensor is None:
                raise RunError("an input is missing", where="onnxruntime module", expected=name)
            if tensor.dtype != dtype:
                raise RunError("wrong dtype", where=f"input {name}", expected=str(dtype), got=str(tensor.dtype))
            feed[name] = _to_ort(tensor)
        try:
            results = self._session.run_with_ort_values(self._outputs, feed)
        except Exception as error:  # onnxruntime raises a dozen classes that share no base but Exception
            raise RunError(f"onnxruntime: {error}", where="onnxruntime module") from error
        return {n: torch.utils.dlpack.from_dlpack(r) for n, r in zip(self._outputs, results, strict=True)}

    def close(self) -> None:
        self._session = None


class OnnxRuntimeBackend:
    name = "onnxruntime"
    form = "onnx-ort"
    profiled = False
    weights_inside = False

    def available(self) -> Availability:
        return Availability(True, True, ort.__version__, f"CPU, {platform.machine()}")

    def fingerprint(self, spec: EngineSpec) -> str:
        return f"onnxruntime {ort.__version__} {spec.device} {spec.precision}"

    def check(self, spec: EngineSpec) -> None:
        _need_cpu(spec)

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes:
        """Checks that the library can run every op of the skeleton; the skeleton is the engine."""
        self.check(spec)
        if progress is not None and not progress("check", 0, 1):
            raise KeyboardInterrupt
        options = _options(spec, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        options.add_session_config_entry("session.disable_prepacking", "1")
        graph = _located(model.graph, model.weights_file)
        try:
            _session(graph, options, model.weights_file)
        except Exception as error:
            raise BuildError(f"onnxruntime refuses the network: {error}", where=model.kind) from error
        if progress is not None:
            progress("check", 1, 1)
        return model.graph

    def load(self, engine: bytes, weights_file: str | None, spec: EngineSpec) -> OrtModule:
        _need_cpu(spec)
        graph = _located(engine, weights_file)
        try:
            return OrtModule(_session(graph, _options(spec, _level(weights_file)), weights_file))
        except Exception as error:
            raise PlanError(
                f"onnxruntime cannot load the engine: {error}", where=str(weights_file), hint="compile the plan again"
            ) from error


def _need_cpu(spec: EngineSpec) -> None:
    if spec.device not in ("cpu", "auto"):
        raise DeviceError("onnxruntime runs on the CPU only", expected="cpu", got=spec.device)


def _options(spec: EngineSpec, level: Any) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = spec.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    return options


def _level(weights_file: str | None) -> Any:
    """Every optimisation, but no change of the convolutions' layout for large networks.

    The blocked layout makes the VAE's decoder a quarter faster and the U-Net 4%; reordering the U-Net's weights takes
    2.5 s at every start and as much memory again as the convolutions have.
    """
    large = weights_file is not None and Path(weights_file).stat().st_size > _LARGE_BYTES
    levels = ort.GraphOptimizationLevel
    return levels.ORT_ENABLE_EXTENDED if large else levels.ORT_ENABLE_ALL


def _located(graph: bytes, weights_file: str | None) -> bytes:
    """The graph with the name of its weight file in it. Raises PlanError where the file is not one it is for."""
    if weights_file is None:
        return graph
    if header_fingerprint(weights_file).encode() not in graph:
        raise PlanError(
            "the weight file has other weights, or in another order, than the engine was made for",
            where=weights_file, hint="compile the plan again",
        )
    return graph.replace(WEIGHTS_LOCATION.encode(), _stretched(Path(weights_file).name).encode())


def _session(graph: bytes, options: Any, weights_file: str | None) -> Any:
    if weights_file is not None:
        folder = str(Path(weights_file).absolute().parent)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _stretched(name: str) -> str:
    """A path of that file with exactly as many bytes as the name that graphs give it, for the length is stored too."""
    missing = len(WEIGHTS_LOCATION) - len(name.encode())
    if missing == 1 or missing < 0:
        raise PlanError("the name of the weight file is too long", where=name, hint="give it a shorter name")
    return "./" * (missing // 2 - missing % 2) + ".//" * (missing % 2) + name


def _to_ort(tensor: torch.Tensor) -> Any:
    """The tensor as an OrtValue over the same memory."""
    return ort.OrtValue.from_dlpack(tensor.detach().contiguous())


_TORCH_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(bfloat16)": torch.bfloat16,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(uint8)": torch.uint8,
    "tensor(bool)": torch.bool,
}
