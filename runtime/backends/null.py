"""Runs nothing: zeros of the right shapes. Lets the compiler, the plan and the executor be tested alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from graphs.dims import Dim, size_from_json, size_of, size_to_json
from graphs.errors import PlanError, RunError
from runtime.backends.backend import Availability, EngineSpec, LoadSpec, NetworkModel, Progress, TensorSpec
from runtime.network_weights import NetworkWeights

_VERSION = "1"


class NullModule:
    """Zeros in the outputs' shapes, with dynamic sizes read off the inputs."""

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.inputs, self.outputs = inputs, outputs

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        sizes: dict[str, int] = {}
        for spec in self.inputs:
            if spec.name not in inputs:
                raise RunError("an input is missing", where="null module", expected=spec.name)
            shape = inputs[spec.name].shape
            if len(shape) != len(spec.shape):
                raise RunError("wrong rank", where=spec.name, expected=str(len(spec.shape)), got=str(tuple(shape)))
            for size, dim in zip(shape, spec.shape, strict=True):
                n = dim.solve(size) if isinstance(dim, Dim) else None
                if isinstance(dim, Dim) and n is not None:
                    sizes.setdefault(dim.name, n)
        for spec in self.inputs:
            _check_shape(spec, tuple(inputs[spec.name].shape), sizes)
        return {o.name: torch.zeros(_shape(o, sizes), dtype=getattr(torch, o.dtype)) for o in self.outputs}

    def set_weights(self, changed: Mapping[str, torch.Tensor]) -> None:
        """Zeros depend on no weight."""

    def close(self) -> None:
        return None


def _check_shape(spec: TensorSpec, shape: tuple[int, ...], sizes: Mapping[str, int]) -> None:
    for size, dim in zip(shape, spec.shape, strict=True):
        if isinstance(dim, Dim) and dim.name not in sizes:
            continue
        expected = size_of(dim, sizes)
        if size != expected:
            got, named = str(shape), ", ".join(str(d) for d in spec.shape)
            raise RunError(f"wrong shape: {dim} is {expected} here", where=spec.name, expected=f"({named})", got=got)


def _shape(spec: TensorSpec, sizes: Mapping[str, int]) -> list[int]:
    for dim in spec.shape:
        if isinstance(dim, Dim) and dim.name not in sizes:
            raise PlanError("an output has a size that no input has", where="null module", expected=str(dim))
    return [size_of(dim, sizes) for dim in spec.shape]


class NullBackend:
    name = "null"
    form = "onnx"
    profiled = False
    weights_inside = False
    reentrant = True

    def available(self) -> Availability:
        return Availability(True, True, _VERSION, "runs nothing")

    def fingerprint(self, spec: EngineSpec) -> str:
        return f"null {_VERSION}"

    def check(self, spec: EngineSpec) -> None:
        return None

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes:
        def listed(specs: tuple[TensorSpec, ...]) -> list[list[object]]:
            return [[s.name, s.dtype, [size_to_json(d) for d in s.shape]] for s in specs]

        return json.dumps({"null": _VERSION, "inputs": listed(model.inputs), "outputs": listed(model.outputs)}).encode()

    def load(self, engine: Path, weights: NetworkWeights, spec: LoadSpec) -> NullModule:
        try:
            fields = json.loads(engine.read_bytes())
            inputs, outputs = (
                tuple(TensorSpec(name, dtype, tuple(map(size_from_json, shape))) for name, dtype, shape in fields[side])
                for side in ("inputs", "outputs")
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError("not an engine of the null backend", hint="compile the plan again") from error
        return NullModule(inputs, outputs)
