"""Backends by name, imported when first asked for, and the choice that "auto" makes.

A literal table: adding a backend is a file and a line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from graphs.errors import DeviceError, UsageError
from runtime.backends.backend import Backend

BACKENDS: Mapping[str, str] = MappingProxyType(
    {
        "onnxruntime": "runtime.backends.onnxruntime:OnnxRuntimeBackend",
        "tensorrt": "runtime.backends.tensorrt:TensorRtBackend",
        "eager": "runtime.backends.eager:EagerBackend",
        "null": "runtime.backends.null:NullBackend",
    }
)


def backend(name: str) -> Backend:
    """The backend of that name; its libraries need not be installed. Raises UsageError."""
    if name not in BACKENDS:
        raise UsageError("unknown backend", expected=", ".join(("auto", *BACKENDS)), got=name)
    module, _, attribute = BACKENDS[name].partition(":")
    found: Backend = getattr(importlib.import_module(module), attribute)()
    return found


def pick(name: str = "auto", device: str = "auto", *, targets: tuple[str, ...] = ()) -> tuple[Backend, str]:
    """The backend to compile with, and why, for people. Raises UsageError, DeviceError; never falls back silently.

    A named backend is taken or refused. "auto" takes onnxruntime for the CPU, tensorrt when targets are named.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError("unknown device", expected="auto, cpu, cuda", got=device)
    if name != "auto":
        chosen = backend(name)
        state = chosen.available()
        if not state.can_build:
            raise DeviceError(f"backend {name} cannot be used here: {state.reason}", hint=state.hint or None)
        return chosen, f"{name} {state.version}: asked for"
    if device == "cuda" and not targets:
        raise DeviceError(
            "no backend runs on a CUDA device in this version",
            hint="use --device cpu, or build TensorRT engines for other machines with --backend tensorrt --target sm89",
        )
    chosen = backend("tensorrt" if targets else "onnxruntime")
    state = chosen.available()
    if not state.can_build:
        raise DeviceError(f"backend {chosen.name} cannot be used here: {state.reason}", hint=state.hint or None)
    why = f"targets {', '.join(targets)} were named" if targets else "fastest on CPU"
    return chosen, f"{chosen.name} {state.version}: {why}"
