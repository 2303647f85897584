"""The loaded engines of a plan: each is loaded when a step first asks for it, once for equal engine and weights."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from graphs.errors import DeviceError, PlanError
from graphs.plan import EngineRef, NetworkBinding, Plan, WeightRef
from runtime.backends.backend import Backend, EngineSpec, Module

log = logging.getLogger(__name__)

HINT = "compile the workflow again"


class Artifacts(Protocol):
    """Where engines and weights are. runtime.artifacts.StoreArtifacts is the one over the store.

    Both raise PlanError when the file is gone or is another than the plan was made with."""

    def engine_path(self, engine: EngineRef) -> Path: ...

    def weights_path(self, weights: WeightRef) -> Path:
        """A safetensors file, to be memory-mapped."""


class Modules:
    """Not thread-safe: the session's lock guards it. load_s: seconds spent loading so far."""

    def __init__(self, plan: Plan, artifacts: Artifacts, backend: Callable[[str], Backend], threads: int = 0) -> None:
        self._plan, self._artifacts, self._threads = plan, artifacts, threads
        self._backend = backend
        self._backends: dict[str, Backend] = {}
        self._loaded: dict[tuple[str, str], Module] = {}
        self.load_s = 0.0

    def check(self, networks: Collection[str]) -> None:
        """Raises DeviceError or PlanError where some engine cannot run here, or is no longer there; loads nothing."""
        for network in networks:
            binding = self._plan.bindings[network]
            self._check(network, binding.engine)
            self._artifacts.engine_path(binding.engine)
            self._artifacts.weights_path(binding.weights)

    def get(self, network: str) -> Module:
        """The module of a NetworkUse.id. Raises PlanError, DeviceError."""
        binding = self._plan.bindings[network]
        key = (binding.engine.sha256, binding.weights.sha256)
        if key not in self._loaded:
            self._loaded[key] = self._load(network, binding)
        return self._loaded[key]

    def close(self) -> None:
        while self._loaded:
            self._loaded.popitem()[1].close()

    def _load(self, network: str, binding: NetworkBinding) -> Module:
        started = time.perf_counter()
        engine = binding.engine
        self._check(network, engine)
        content = self._artifacts.engine_path(engine).read_bytes()
        weights = self._artifacts.weights_path(binding.weights)
        module = self._backends[engine.backend].load(content, str(weights), self._spec(engine))
        seconds = time.perf_counter() - started
        self.load_s += seconds
        log.info("loaded %s (%s %s) in %.2f s", network, engine.backend, engine.precision, seconds)
        return module

    def _check(self, network: str, engine: EngineRef) -> None:
        if engine.backend not in self._backends:
            self._backends[engine.backend] = self._backend(engine.backend)
        backend = self._backends[engine.backend]
        available = backend.available()
        if not available.can_run:
            raise DeviceError(
                f"this plan's engines are for {engine.backend}, which cannot run here: {available.reason}",
                where=f"network {network}",
                hint=available.hint or "compile with --backend onnxruntime to run on this machine",
            )
        fingerprint = backend.fingerprint(self._spec(engine))
        if fingerprint != engine.fingerprint:
            raise PlanError(
                "the engine was built for another machine or library version",
                where=f"network {network}",
                expected=fingerprint,
                got=engine.fingerprint,
                hint=HINT,
            )

    def _spec(self, engine: EngineRef) -> EngineSpec:
        return EngineSpec(precision=engine.precision, device=self._plan.device, threads=self._threads)
