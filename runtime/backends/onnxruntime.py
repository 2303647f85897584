"""ONNX Runtime on the CPU.

Engine bytes are the weightless ONNX skeleton in the "onnx-ort" dialect. load() hands the session the weights as views
of the mapped file; tensors go in and out through DLPack, without a copy.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import onnxruntime as ort
import torch

from graphs.errors import BuildError, DeviceError, PlanError, RunError
from runtime.backends.backend import Availability, EngineSpec, NetworkModel, Progress
from runtime.mapped import map_weights

ort.disable_telemetry_events()
_FATAL = 4  # log severity: what matters arrives as an exception


class OrtModule:
    def __init__(self, session: Any, weights: Mapping[str, torch.Tensor]) -> None:
        self._session = session
        self._weights = weights  # the session reads their memory
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
        self._weights = {}


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
        options = _options(spec)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            weights = map_weights(model.weights_file) if model.weights_file else {}
            _session(model.graph, options, weights)
        except PlanError:
            raise
        except Exception as error:
            raise BuildError(f"onnxruntime refuses the network: {error}", where=model.kind) from error
        if progress is not None:
            progress("check", 1, 1)
        return model.graph

    def load(self, engine: bytes, weights_file: str | None, spec: EngineSpec) -> OrtModule:
        _need_cpu(spec)
        weights = map_weights(weights_file) if weights_file is not None else {}
        try:
            session = _session(engine, _options(spec), weights)
        except Exception as error:
            raise PlanError(
                f"onnxruntime cannot load the engine: {error}", where=str(weights_file), hint="compile the plan again"
            ) from error
        return OrtModule(session, weights)


def _need_cpu(spec: EngineSpec) -> None:
    if spec.device not in ("cpu", "auto"):
        raise DeviceError("onnxruntime runs on the CPU only", expected="cpu", got=spec.device)


def _options(spec: EngineSpec) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = spec.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return options


def _session(graph: bytes, options: Any, weights: Mapping[str, torch.Tensor]) -> Any:
    values = [_to_ort(t) for t in weights.values()]
    options.add_external_initializers(list(weights), values)
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


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
