"""The child process that builds one engine with TensorRT-RTX: `python -m runtime.backends.tensorrt_builder`.

The only file that imports TensorRT. It reads a request from stdin and answers on stdout (runtime.backends.build_process
says in which form). The graph comes without weights; the library is given pointers into the mapped weight file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from runtime.backends.build_phases import SCALE, BuildPhases
from runtime.memory import peak_rss_bytes

Json = Any
_TELL_EVERY_S = 0.1
_CHUNK = 1 << 24
_ACTIVATIONS = "Total Activation Memory:"


class RefusedError(Exception):
    """The library will not parse or build the network; the message is for people."""


class Channel:
    """Where events and the engine go. What the library prints on stdout by itself is led to stderr."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._pipe = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def tell(self, **event: Json) -> None:
        """Raises BrokenPipeError when nobody listens any more."""
        self._pipe.write(json.dumps(event).encode() + b"\n")
        self._pipe.flush()

    def send(self, data: memoryview) -> None:
        for start in range(0, data.nbytes, _CHUNK):
            self._pipe.write(data[start : start + _CHUNK])
        self._pipe.flush()


def main() -> int:
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    channel = Channel()
    request, graph = _read(sys.stdin.buffer)
    try:
        import tensorrt_rtx_bindings as trt
    except (ImportError, OSError) as error:
        channel.tell(error=f"TensorRT-RTX cannot be loaded: {error}", device=True)
        return 1
    try:
        _build(trt, request, graph, channel)
    except RefusedError as error:
        channel.tell(error=str(error), device=False)
        return 1
    except BrokenPipeError:  # the parent is gone
        return 1
    return 0


def _end_with_parent() -> None:
    """A parent that is killed cannot end this process, which notices it only when it next tells how far it is."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG


def _read(pipe: IO[bytes]) -> tuple[dict[str, Json], bytes]:
    request = json.loads(pipe.readline())
    return request, pipe.read(request["graph_bytes"])


def _build(trt: Any, request: Mapping[str, Json], graph: bytes, channel: Channel) -> None:
    started = time.perf_counter()
    journal = _journal(trt, channel)
    builder = trt.Builder(journal)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, journal)
    weights = MappedWeights([Path(layer) for layer in request["weights"]])  # read until the engine is built
    _parse(parser, graph, weights.places, journal)
    config = _configured(trt, builder, request)
    monitor = _monitor(trt, channel)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        if monitor.lost:
            raise BrokenPipeError
        raise RefusedError(journal.first_error() or "the builder gave no engine and no reason")
    channel.tell(
        engine=plan.nbytes, activation_bytes=journal.activation_bytes, seconds=time.perf_counter() - started,
        layers=network.num_layers, peak_rss_bytes=peak_rss_bytes(),
    )  # fmt: skip
    channel.send(memoryview(plan).cast("B"))


def _parse(parser: Any, graph: bytes, weights: Mapping[str, tuple[int, int]], journal: Any) -> None:
    """Raises RefusedError. weights: name -> address and bytes."""
    if not parser.load_model_proto(graph, "network.onnx"):
        raise RefusedError(_reason(parser, journal, "the ONNX file"))
    for name, (address, size) in weights.items():
        # a wrong size or name makes it return False, and says why in the log alone
        if not parser.load_initializer(name, address, size):
            raise RefusedError(_reason(parser, journal, f"the weight {name}"))
    if not parser.parse_model_proto():
        raise RefusedError(_reason(parser, journal, "the graph"))


def _reason(parser: Any, journal: Any, what: str) -> str:
    if parser.num_errors:
        error = parser.get_error(0)
        node = " ".join(part for part in (error.node_operator(), error.node_name()) if part)
        return f"{what}: {_short(error.desc())}" + (f" (node {node})" if node else "")
    return f"{what}: {journal.first_error() or 'no reason was given'}"


def _configured(trt: Any, builder: Any, request: Mapping[str, Json]) -> Any:
    """The build configuration: targets, number formats, and one optimization profile over all dynamic sizes."""
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32
    config.num_compute_capabilities = len(request["targets"])
    for i, target in enumerate(request["targets"]):
        config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), i)
    if request["shapes"]:
        profile = builder.create_optimization_profile()
        for name, (low, opt, high) in request["shapes"].items():
            profile.set_shape(name, tuple(low), tuple(opt), tuple(high))
        if config.add_optimization_profile(profile) < 0:
            raise RefusedError(f"the library takes no such sizes: {request['shapes']}")
    return config


class MappedWeights:
    """Layers of safetensors files in memory, the later wins. places: name -> address and bytes of each tensor, valid
    while this object lives."""

    def __init__(self, layers: Sequence[Path]) -> None:
        self._arrays = [np.memmap(path, dtype=np.uint8, mode="r") for path in layers]
        self.places: dict[str, tuple[int, int]] = {}
        for array in self._arrays:
            self._place(array)

    def _place(self, array: np.memmap[Any, np.dtype[np.uint8]]) -> None:
        start = 8 + int.from_bytes(array[:8].tobytes(), "little")
        header = json.loads(array[8:start].tobytes())
        base = array.ctypes.data + start
        for name, tensor in header.items():
            if name != "__metadata__":
                first, end = tensor["data_offsets"]
                self.places[name] = (base + first, end - first)


def _journal(trt: Any, channel: Channel) -> Any:
    """A logger that remembers errors and the activation memory, and passes the rest on."""

    class Journal(trt.ILogger):  # type: ignore[misc]  # the library has no stubs
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.activation_bytes: int | None = None

        def log(self, severity: Any, message: str) -> None:
            level = str(severity).rpartition(".")[2]
            if level in ("ERROR", "INTERNAL_ERROR"):
                self.errors.append(message)
            if _ACTIVATIONS in message:
                self.activation_bytes = int(message.partition(_ACTIVATIONS)[2].split()[0])
            if level != "VERBOSE":
                with contextlib.suppress(BrokenPipeError):  # the monitor ends the build then
                    channel.tell(log=[level, message])

        def first_error(self) -> str:
            return _short(self.errors[0]) if self.errors else ""

    return Journal()


def _monitor(trt: Any, channel: Channel) -> Any:
    """Tells how far the build is, and cancels it when nobody listens any more.

    What a callback raises would be printed and dropped, so none raises.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the library has no stubs
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.lost = False
            self._phases = BuildPhases()
            self._told = 0.0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._phases.start(phase, parent, steps)

        def phase_finish(self, phase: str) -> None:
            self._phases.finish(phase)

        def step_complete(self, phase: str, step: int) -> bool:
            self._phases.step(phase, step)
            now = time.monotonic()
            if now - self._told >= _TELL_EVERY_S:
                self._told = now
                try:
                    channel.tell(progress=[self._phases.done(), SCALE])
                except BrokenPipeError:
                    self.lost = True
            return not self.lost

    return Monitor()


def _short(message: str) -> str:
    """One line without the places in the library's source: what a user can do something with."""
    line = " ".join(message.split())
    return line if len(line) <= 400 else line[:397] + "..."


if __name__ == "__main__":
    sys.exit(main())
