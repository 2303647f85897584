"""Inductor on NVIDIA GPUs: engines compiled ahead of time, loaded without tracing, Triton or a compiler.

An engine is a kernel pack (kernel_pack.py) with a program for each bucket of sizes; weights are its arguments, on the
GPU once for all programs. A bucket's CUDA graph is captured by its first call; later calls copy inputs and replay.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from graphs.errors import DeviceError, PlanError, RunError, UsageError
from runtime.backends.backend import Availability, EngineSpec, LoadSpec, NetworkModel, Progress
from runtime.backends.cuda_graph import CapturedCall
from runtime.backends.device_weights import DeviceWeights
from runtime.backends.inductor_buckets import buckets, row_blocks
from runtime.backends.kernel_pack import (
    VERSION,
    Blobs,
    BucketProgram,
    KernelPack,
    LoadedPack,
    Weights,
    read_pack,
)
from runtime.backends.saved_programs import load_program
from runtime.network_weights import NetworkWeights
from runtime.stopwatch import Stopwatch

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16", "bf16")


def capability() -> str:
    """Of the first GPU: "sm90"."""
    major, minor = torch.cuda.get_device_capability()
    return f"sm{major}{minor}"


class InductorModule:
    """Calls take turns. Memory that CUDA graphs allocate is shared by the programs of one engine."""

    def __init__(self, pack: KernelPack, weights: NetworkWeights, device: torch.device) -> None:
        self._pack, self._device = pack, device
        self._loaded = LoadedPack(pack)
        self._weights = DeviceWeights(pack.weights, device)
        self._weights.load(weights.tensors(str(device)), weights.unchanged(), where=str(weights))
        self._captured: dict[int, CapturedCall] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        given = self._checked(inputs)
        rows = self._rows(given)
        fitting = {p.inputs[0].shape[0]: n for n, p in enumerate(self._pack.programs) if _fits(p, given)}
        if not fitting:
            raise RunError(
                "the engine was not compiled for this size", where="inductor module",
                expected="; ".join(_shapes(p) for p in self._pack.programs),
                got=", ".join(f"{n} {tuple(t.shape)}" for n, t in given.items()),
                hint="compile with these sizes: --size, --batch",
            )  # fmt: skip
        if rows in fitting:
            return self._replay(fitting[rows], given)
        parts, start = [], 0
        for count, held in row_blocks(rows, list(fitting)):
            block = {n: _padded(t[start : start + count], held) for n, t in given.items()}
            parts.append({n: t[:count].clone() for n, t in self._replay(fitting[held], block).items()})
            start += count
        return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}

    def _checked(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The inputs of the network, in its order, with their dtypes."""
        given = {}
        for buffer in self._pack.programs[0].inputs:
            tensor = inputs.get(buffer.name)
            if tensor is None:
                raise RunError("an input is missing", where="inductor module", expected=buffer.name)
            if str(tensor.dtype) != f"torch.{buffer.dtype}":
                raise RunError(
                    "wrong dtype", where=f"input {buffer.name}", expected=buffer.dtype, got=str(tensor.dtype)
                )
            given[buffer.name] = tensor
        return given

    def _rows(self, given: Mapping[str, torch.Tensor]) -> int:
        counts = {t.shape[0] for t in given.values()}
        if len(counts) != 1:
            raise RunError("inputs differ in their number of rows", where="inductor module", got=str(sorted(counts)))
        return counts.pop()

    def _replay(self, index: int, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        program = self._pack.programs[index]
        try:
            if index not in self._captured:
                self._captured[index] = self._capture(program)
            results = self._captured[index].replay(given)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            raise RunError(f"CUDA: {error}", where="inductor module") from error
        return dict(zip(program.outputs, results, strict=True))

    def _capture(self, program: BucketProgram) -> CapturedCall:
        watch = Stopwatch()
        call = self._loaded.program(program)
        watch.lap("kernels")
        weights = [self._weights.tensors[i] for i in program.weights]
        with torch.inference_mode(False), torch.no_grad():
            buffers = {
                b.name: torch.zeros(b.shape, dtype=getattr(torch, b.dtype), device=self._device) for b in program.inputs
            }
            captured = CapturedCall(lambda: call([*weights, *buffers.values()]), buffers, self._pool)
        watch.lap("first call and capture")
        log.debug("inductor program: %s", watch)
        return captured

    def set_weights(self, changed: Mapping[str, torch.Tensor]) -> None:
        """The tensors stay where they are, so that captured graphs read the new values."""
        with torch.no_grad():
            self._weights.set(changed)

    def close(self) -> None:
        while self._captured:
            self._captured.popitem()[1].close()
        self._loaded.close()
        self._weights = DeviceWeights((), self._device)


def _fits(program: BucketProgram, given: Mapping[str, torch.Tensor]) -> bool:
    """Whether all sizes but the number of rows are those of the program."""
    return all(given[b.name].shape[1:] == b.shape[1:] for b in program.inputs)


def _shapes(program: BucketProgram) -> str:
    return ", ".join(f"{b.name} {b.shape}" for b in program.inputs)


def _padded(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """The last row repeated; what comes of it is thrown away."""
    missing = rows - tensor.shape[0]
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) if missing else tensor


class InductorBackend:
    name = "inductor"
    form = "exported-program"
    profiled = True
    weights_inside = False
    reentrant = False

    def available(self) -> Availability:
        version = torch.__version__
        if not torch.cuda.is_available():
            return Availability(
                False, False, version, "torch sees no NVIDIA GPU", "install torch with CUDA and the NVIDIA driver"
            )
        device = f"{torch.cuda.get_device_name()} {capability()}"
        if importlib.util.find_spec("triton") is None:
            return Availability(False, True, version, f"{device}; Triton is not installed", "pip install triton")
        return Availability(True, True, version, device)

    def fingerprint(self, spec: EngineSpec) -> str:
        return f"inductor-{VERSION} torch-{torch.__version__} {capability() if torch.cuda.is_available() else 'no GPU'}"

    def check(self, spec: EngineSpec) -> None:
        if spec.targets:
            raise UsageError("inductor builds for the GPU that is there", expected="no --target", got=spec.targets[0])
        if spec.device != "cuda":
            raise DeviceError("inductor engines run on NVIDIA GPUs", expected="--device cuda", got=spec.device)
        if spec.precision not in PRECISIONS:
            raise UsageError("unknown precision", expected=", ".join(PRECISIONS), got=spec.precision)

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes:
        from runtime.backends.inductor_builder import compile_bucket

        self.check(spec)
        program = load_program(model.graph)
        wanted, blobs, weights, programs = buckets(model.inputs, spec.profile), Blobs(), Weights(), []
        for number, sizes in enumerate(wanted):
            if progress is not None and not progress(f"compile {model.kind}", number, len(wanted)):
                raise KeyboardInterrupt
            programs.append(compile_bucket(program, model.inputs, model.outputs, sizes, weights, blobs))
        if progress is not None:
            progress(f"compile {model.kind}", len(wanted), len(wanted))
        pack = KernelPack(torch.__version__, capability(), tuple(weights.wanted), tuple(programs), tuple(blobs.content))
        return pack.to_bytes()

    def load(self, engine: Path, weights: NetworkWeights, spec: LoadSpec) -> InductorModule:
        watch = Stopwatch()
        pack = read_pack(engine.read_bytes())
        watch.lap("read")
        device = torch.device(spec.device)
        if device.index not in (None, 0):
            raise DeviceError("inductor engines run on the first GPU", got=spec.device, hint="set CUDA_VISIBLE_DEVICES")
        here = (torch.__version__, capability())
        if (pack.library, pack.capability) != here:
            raise PlanError(
                "the engine was built for another torch or GPU", where=str(engine), expected=" ".join(here),
                got=f"{pack.library} {pack.capability}", hint="compile the workflow again",
            )  # fmt: skip
        with torch.inference_mode(False), torch.no_grad():
            torch.empty(1, device=device)  # makes the CUDA context, which loading kernels needs
            watch.lap("context")
            module = InductorModule(pack, weights, device)
            watch.lap("weights")
        log.debug("inductor engine: %s", watch)
        return module


__all__ = ["InductorBackend", "InductorModule", "capability"]
