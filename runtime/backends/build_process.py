"""Builds an engine in a child process: the side that asks.

    to the child     one line of JSON (the request, with the graph's length), then the graph
    from the child   lines of JSON, each an event; the last one tells the engine's length, and the engine follows
        {"progress": [done, total]}     {"log": [severity, message]}     {"error": message, "device": bool}
        {"engine": bytes, "activation_bytes": ..., "seconds": ..., "layers": ..., "peak_rss_bytes": ...}

A child that is no longer wanted is killed: a builder asks for permission to go on only between its steps, and the
longest of them takes many seconds. What its library prints by itself is kept for the error message.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from graphs.errors import BuildError, DeviceError
from runtime.backends.backend import Progress
from runtime.backends.build_phases import SCALE

log = logging.getLogger(__name__)

Json = Any


@dataclass(frozen=True)
class Built:
    """engine: the bytes. activation_bytes: memory for activations at the largest sizes, as the library tells it; None
    where it does not. seconds: of parsing and building. layers: of the parsed network. peak_rss_bytes: of the child;
    None where the system does not say."""

    engine: memoryview
    activation_bytes: int | None
    seconds: float
    layers: int
    peak_rss_bytes: int | None


def run_build(module: str, request: Mapping[str, Json], graph: bytes, progress: Progress | None = None) -> Built:
    """Runs `python -P -m module` and gives it a request. request["kind"] names the network in messages.

    Raises BuildError, DeviceError (the library cannot be loaded), KeyboardInterrupt (also where progress refuses).
    """
    kind = str(request["kind"])
    # -P and no empty entry: a folder named runtime in the current folder is not ours
    ours = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ours, *(p for p in sys.path if p)])}
    with tempfile.TemporaryFile() as printed:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed,
            env=environment,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            _ask(child.stdin, request, graph)
            built = _listen(child.stdout, kind, progress)
            if built is None:
                raise BuildError(f"the builder {_ended(child.wait())}", where=kind, got=_last_line(printed))
            return built
        finally:
            child.kill()
            child.wait()
            child.stdout.close()


def _ask(pipe: IO[bytes], request: Mapping[str, Json], graph: bytes) -> None:
    try:
        with pipe:
            pipe.write(json.dumps({**request, "graph_bytes": len(graph)}).encode() + b"\n")
            pipe.write(graph)
    except BrokenPipeError:
        log.debug("the builder process ended before it read its request")  # what it says on the way is read next


def _listen(pipe: IO[bytes], kind: str, progress: Progress | None) -> Built | None:
    """Follows the child's events up to the engine; None when it ends without one."""

    def report(done: int, total: int) -> None:
        if progress is not None and not progress(f"build {kind} (TensorRT)", done, total):
            raise KeyboardInterrupt

    for line in pipe:
        event = json.loads(line)
        if "progress" in event:
            report(*event["progress"])
        elif "log" in event:
            severity, message = event["log"]
            log.log(logging.INFO if severity == "WARNING" else logging.DEBUG, "%s: %s", kind, message)
        elif "error" in event:
            if event["device"]:
                raise DeviceError(event["error"], hint='reinstall it: pip install "comfyc[tensorrt-rtx]"')
            raise BuildError(f"TensorRT-RTX refuses the network: {event['error']}", where=kind)
        else:
            built = _receive(pipe, event)
            if built is not None:
                report(SCALE, SCALE)
            return built
    return None


def _receive(pipe: IO[bytes], event: Mapping[str, Json]) -> Built | None:
    engine = memoryview(bytearray(event["engine"]))
    filled = 0
    while filled < len(engine):
        count = pipe.readinto(engine[filled:])  # type: ignore[attr-defined]  # a BufferedReader has it
        if not count:
            return None
        filled += count
    return Built(
        engine.toreadonly(), event["activation_bytes"], event["seconds"], event["layers"], event["peak_rss_bytes"]
    )


def _ended(status: int) -> str:
    """A negative status is the signal that ended the process."""
    return f"crashed ({signal.Signals(-status).name})" if status < 0 else f"ended with status {status}"


def _last_line(printed: IO[bytes]) -> str:
    printed.seek(0)
    lines = printed.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "nothing printed"
