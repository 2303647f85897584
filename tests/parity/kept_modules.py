"""Backends whose loaded networks outlive a session, so that eighty cases of one checkpoint load its weights once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache

import torch

from runtime.backends import backend
from runtime.backends.backend import Availability, Backend, EngineSpec, Module, NetworkModel, Progress

KEPT = 8  # networks: the U-Net, VAE and text encoder of a checkpoint in parts, and a patched U-Net beside it


class KeptModule:
    """The module itself; a session that closes it leaves it loaded."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return self.module(inputs)

    def close(self) -> None:
        """The cache closes it."""


class KeepingBackend:
    """A backend that hands out a loaded network again for the same engine and weights."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.name, self.form = inner.name, inner.form
        self.profiled, self.weights_inside = inner.profiled, inner.weights_inside
        self._kept: OrderedDict[tuple[str, str | None, str], KeptModule] = OrderedDict()

    def available(self) -> Availability:
        return self._inner.available()

    def fingerprint(self, spec: EngineSpec) -> str:
        return self._inner.fingerprint(spec)

    def check(self, spec: EngineSpec) -> None:
        self._inner.check(spec)

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes | memoryview:
        return self._inner.build(model, spec, progress)

    def load(self, engine: bytes, weights_file: str | None, spec: EngineSpec) -> Module:
        key = (hashlib.sha256(engine).hexdigest(), weights_file, repr(spec))
        if key not in self._kept:
            while len(self._kept) >= KEPT:
                self._kept.popitem(last=False)[1].module.close()
            self._kept[key] = KeptModule(self._inner.load(engine, weights_file, spec))
        self._kept.move_to_end(key)
        return self._kept[key]


@cache
def kept_modules(name: str) -> Backend:
    """The backend of that name, keeping its modules for the life of the process."""
    return KeepingBackend(backend(name))
