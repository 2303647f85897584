"""ONNX Runtime on the CPU.

An engine is the weightless ONNX skeleton in the "onnx-ort" dialect. load() writes into it where each weight lies, in
whichever layer has it last, and the session maps those files: given as tensors, onnxruntime copies every weight.
Tensors go in and out through DLPack, without a copy. Why networks are optimised as they are, and how layers are found:
docs/adr/0010-cpu-engines.md, docs/adr/0013-weights-in-layers.md.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch

from graphs.errors import BuildError, DeviceError, PlanError, RunError
from runtime.backends.backend import (
    LOCATION_BYTES,
    OFFSET_DIGITS,
    Availability,
    EngineSpec,
    LoadSpec,
    NetworkModel,
    Progress,
)
from runtime.mapped import header_fingerprint, places
from runtime.network_weights import NetworkWeights

ort.disable_telemetry_events()
_FATAL = 4  # log severity: what matters arrives as an exception
_LARGE_BYTES = 1 << 30
# The file name and offset of a weight in a skeleton, and what stands between them: two protobuf string pairs.
_SLOT = re.compile(
    rb"weight(\d{6})_{%d}(j\x1e\n\x06offset\x12\x14)\d{%d}" % (LOCATION_BYTES - 12, OFFSET_DIGITS), re.DOTALL
)

Weights = Mapping[str, torch.Tensor]


class OrtModule:
    """open: makes a session in which these weights take the place of those in the files."""

    def __init__(self, open: Callable[[Weights], Any]) -> None:
        self._open = open
        self._given: dict[str, torch.Tensor] = {}
        session = self._session = open({})
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

    def set_weights(self, changed: Weights) -> None:
        """Opens the session anew, which copies `changed` and maps the rest: the library takes no weight later."""
        given = {**self._given, **changed}
        try:
            self._session = self._open(given)
        except Exception as error:
            raise PlanError(f"the weights do not fit the engine: {error}", where="onnxruntime module") from error
        self._given = given

    def close(self) -> None:
        self._session = None


class OnnxRuntimeBackend:
    name = "onnxruntime"
    form = "onnx-ort"
    profiled = False
    weights_inside = False
    reentrant = True

    def available(self) -> Availability:
        return Availability(True, True, ort.__version__, f"CPU, {platform.machine()}")

    def fingerprint(self, spec: EngineSpec) -> str:
        return f"onnxruntime {ort.__version__} {spec.device} {spec.precision}"

    def check(self, spec: EngineSpec) -> None:
        _need_cpu(spec.device)

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes:
        """Checks that the library can run every op of the skeleton; the skeleton is the engine."""
        self.check(spec)
        if progress is not None and not progress("check", 0, 1):
            raise KeyboardInterrupt
        options = _options(0, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        options.add_session_config_entry("session.disable_prepacking", "1")
        graph = _located(model.graph, model.weights)
        try:
            _session(graph, options, model.weights)
        except Exception as error:
            raise BuildError(f"onnxruntime refuses the network: {error}", where=model.kind) from error
        if progress is not None:
            progress("check", 1, 1)
        return model.graph

    def load(self, engine: Path, weights: NetworkWeights, spec: LoadSpec) -> OrtModule:
        """onnxruntime keeps activations in an allocator of its own: spec.arena is not used."""
        _need_cpu(spec.device)
        files = weights.files()
        graph = _located(engine.read_bytes(), files)

        def open_session(given: Weights) -> Any:
            options = _options(spec.threads, _level(files))
            if given:
                options.add_external_initializers(list(given), [_to_ort(tensor) for tensor in given.values()])
            return _session(graph, options, files)

        try:
            return OrtModule(open_session)
        except Exception as error:
            where = ", ".join(map(str, files)) or str(engine)
            raise PlanError(
                f"onnxruntime cannot load the engine: {error}", where=where, hint="compile the plan again"
            ) from error


def _need_cpu(device: str) -> None:
    if device not in ("cpu", "auto"):
        raise DeviceError("onnxruntime runs on the CPU only", expected="cpu", got=device)


def _options(threads: int, level: Any) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    return options


def _level(weights: tuple[Path, ...]) -> Any:
    """Every optimisation, but no change of the convolutions' layout for large networks.

    The blocked layout makes the VAE's decoder a quarter faster and the U-Net 4%; reordering the U-Net's weights takes
    2.5 s at every start and as much memory again as the convolutions have.
    """
    large = bool(weights) and weights[0].stat().st_size > _LARGE_BYTES
    levels = ort.GraphOptimizationLevel
    return levels.ORT_ENABLE_EXTENDED if large else levels.ORT_ENABLE_ALL


def _located(graph: bytes, weights: tuple[Path, ...]) -> bytes:
    """The graph with the file and offset of every weight in it. Raises PlanError where the files are not for it."""
    if not weights:
        return graph
    if header_fingerprint(weights[0]).encode() not in graph:
        raise PlanError(
            "the weight file has other weights, or in another order, than the engine was made for",
            where=str(weights[0]), hint="compile the plan again",
        )
    folder = _folder(weights)
    names = {path: _stretched(path.absolute().relative_to(folder).as_posix()).encode() for path in weights}
    found = list(places(weights).values())

    def located(slot: re.Match[bytes]) -> bytes:
        place = found[int(slot[1])]
        return names[place.path] + slot[2] + b"%020d" % place.offset

    return _SLOT.sub(located, graph)


def _session(graph: bytes, options: Any, weights: tuple[Path, ...]) -> Any:
    if weights:
        folder = _folder(weights)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _folder(weights: tuple[Path, ...]) -> Path:
    """The innermost folder that has all the files, below which the library looks for them."""
    return Path(os.path.commonpath([path.absolute().parent for path in weights]))


def _stretched(name: str) -> str:
    """A path of that file with exactly as many bytes as the name that graphs give it, for the length is stored too."""
    missing = LOCATION_BYTES - len(name.encode())
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
