"""Runs nothing: zeros of the right shapes. Lets the compiler, the plan and the executor be tested alone."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch

from graphs.errors import PlanError, RunError
from runtime.backends.backend import Availability, EngineSpec, NetworkModel, Progress, TensorSpec

_VERSION = "1"


class NullModule:
    """Zeros in the outputs' shapes, with dynamic sizes read off the inputs; a size no input has must be a multiple."""

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.inputs, self.outputs = inputs, outputs

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        sizes: dict[str, int] = {}
        for spec in self.inputs:
            if spec.name not in inputs:
                raise RunError("an input is missing", where="null module", expected=spec.name)
            shape = inputs[spec.name].shape
            if len(shape) != len(spec.shape):
                raise RunError("wrong rank", where=spec.name, expected=str(spec.shape), got=str(tuple(shape)))
            for size, dim in zip(shape, spec.shape, strict=True):
                if isinstance(dim, int) and dim != size:
                    raise RunError("wrong shape", where=spec.name, expected=str(spec.shape), got=str(tuple(shape)))
                if isinstance(dim, str) and sizes.setdefault(dim, size) != size:
                    raise RunError(f"two sizes for {dim}", where=spec.name, expected=str(sizes[dim]), got=str(size))
        return {
            o.name: torch.zeros([_size(d, sizes) for d in o.shape], dtype=getattr(torch, o.dtype)) for o in self.outputs
        }

    def close(self) -> None:
        return None


def _size(dim: int | str, sizes: Mapping[str, int]) -> int:
    """A dimension: a number, a name, or "NAME*8", "NAME/8", "8*NAME"."""
    if isinstance(dim, int):
        return dim
    if dim in sizes:
        return sizes[dim]
    for sign in ("*", "/"):
        left, found, right = (p.strip() for p in dim.partition(sign))
        if found and (left in sizes or left.isdigit()) and (right in sizes or right.isdigit()):
            a, b = (int(p) if p.isdigit() else sizes[p] for p in (left, right))
            return a * b if sign == "*" else a // b
    raise PlanError("an output has a size that no input has", where="null module", expected=dim)


class NullBackend:
    name = "null"
    form = "onnx"
    profiled = False
    weights_inside = False

    def available(self) -> Availability:
        return Availability(True, True, _VERSION, "runs nothing")

    def fingerprint(self, spec: EngineSpec) -> str:
        return f"null {_VERSION}"

    def check(self, spec: EngineSpec) -> None:
        return None

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes:
        def listed(specs: tuple[TensorSpec, ...]) -> list[list[object]]:
            return [[s.name, s.dtype, list(s.shape)] for s in specs]

        return json.dumps({"null": _VERSION, "inputs": listed(model.inputs), "outputs": listed(model.outputs)}).encode()

    def load(self, engine: bytes, weights_file: str | None, spec: EngineSpec) -> NullModule:
        try:
            fields = json.loads(engine)
            inputs, outputs = (
                tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in fields[side])
                for side in ("inputs", "outputs")
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError("not an engine of the null backend", hint="compile the plan again") from error
        return NullModule(inputs, outputs)
