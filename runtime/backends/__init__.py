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
        "inductor": "runtime.backends.inductor:InductorBackend",
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

    A named backend is taken or refused. "auto" takes onnxruntime for the CPU, inductor for an NVIDIA GPU that is asked
    for and there, tensorrt when targets are named.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError("unknown device", expected="auto, cpu, cuda", got=device)
    if name != "auto":
        chosen, why = backend(name), "asked for"
    elif targets:
        chosen, why = backend("tensorrt"), f"targets {', '.join(targets)} were named"
    elif device == "cuda":
        chosen, why = backend("inductor"), "fastest on an NVIDIA GPU"
    else:
        chosen, why = backend("onnxruntime"), "fastest on CPU"
    state = chosen.available()
    if not state.can_build:
        raise DeviceError(f"backend {chosen.name} cannot be used here: {state.reason}", hint=state.hint or None)
    return chosen, f"{chosen.name} {state.version}: {why}"
