"""The loaded engines of a device: one pool a process and device, which all open plans share.

A session leases the engines that a run needs and gives them back. An engine that nobody has leased stays loaded until
its memory is wanted: the least recently used goes first, one in use never. Why so: docs/adr/0012-engines-pool.md.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

from graphs.errors import DeviceError, PlanError
from graphs.plan import EngineRef, NetworkBinding, WeightRef
from runtime.arena import DeviceArena
from runtime.backends.backend import Backend, EngineSpec, LoadSpec, Module
from runtime.network_weights import NetworkWeights
from runtime.turns import Turn

log = logging.getLogger(__name__)

HINT = "compile the workflow again"


class Artifacts(Protocol):
    """Where engines and weights are. runtime.artifacts.StoreArtifacts finds them in the store.

    Both raise PlanError when a file is gone or is another than the plan was made with."""

    def engine_path(self, engine: EngineRef) -> Path: ...

    def weights(self, weights: WeightRef) -> NetworkWeights: ...


@dataclass(frozen=True, eq=False)
class Lease:
    """An engine in use, until Engines.release. load_s: seconds that it took to load; 0 where it was there."""

    module: Module
    load_s: float
    _slot: _Slot


@dataclass(eq=False)
class _Slot:
    """One engine with its weights. lock: held while it is loaded. used: number of its last lease."""

    binding: NetworkBinding
    lock: threading.Lock = field(default_factory=threading.Lock)
    module: Module | None = None
    weights: NetworkWeights | None = None
    multiplied_bytes: int = 0  # of the weights that factors change
    users: int = 0
    used: int = 0

    @property
    def size_bytes(self) -> int:
        """Estimate of what it takes: the files, and what is multiplied out."""
        return self.binding.engine.size_bytes + self.binding.weights.size_bytes + self.multiplied_bytes

    def close(self) -> None:
        if self.module is not None:
            self.module.close()
        if self.weights is not None:
            self.weights.close()


_Key = tuple[str, tuple[tuple[str, float | None], ...]]  # hashes of the engine and of the layers, and their strengths


def _key(binding: NetworkBinding) -> _Key:
    return binding.engine.sha256, tuple((layer.sha256, layer.strength) for layer in binding.weights.layers)


class Engines:
    """Thread-safe. device: as torch names it, with an index where there are several ("cpu", "cuda:1").

    keep: whether engines stay when the last plan that has them is closed, for the next one (a server wants that).
    max_bytes: engines that no run uses go as soon as all together take more, even those of open plans; None is no
    bound. What runs use may exceed it. threads: of the networks, 0 is the library's default.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        backend: Callable[[str], Backend] | None = None,
        *,
        device: str = "cpu",
        threads: int = 0,
        max_bytes: int | None = None,
        keep: bool = False,
    ) -> None:
        if backend is None:
            from runtime.backends import backend as by_name

            backend = by_name
        self.device, self.max_bytes, self.keep = device, max_bytes, keep
        self.load_s = 0.0  # seconds spent loading so far, by whomever
        self.loads = 0
        self._artifacts, self._backend = artifacts, backend
        self._spec = LoadSpec(device, threads, DeviceArena(device))
        self._lock, self._turn = threading.Lock(), Turn()
        self._backends: dict[str, Backend] = {}
        self._slots: dict[_Key, _Slot] = {}
        self._plans: Counter[_Key] = Counter()  # how many open plans have an engine
        self._clock = itertools.count(1)
        self._closed = False

    # --- open plans

    def enter(self, bindings: Mapping[str, NetworkBinding]) -> None:
        """A plan with these engines is opened. Loads nothing. Raises DeviceError or PlanError where an engine cannot
        run here, or is no longer there."""
        for network, binding in bindings.items():
            self._check(network, binding.engine)
            self._artifacts.engine_path(binding.engine)
            self._artifacts.weights(binding.weights)
        with self._lock:
            self._plans.update({_key(binding) for binding in bindings.values()})

    def leave(self, bindings: Mapping[str, NetworkBinding]) -> None:
        """A plan that entered is closed. Unless the pool keeps them, engines that no other open plan has are freed."""
        with self._lock:
            self._plans.subtract({_key(binding) for binding in bindings.values()})
            self._plans = +self._plans
        if not self.keep:
            self._free(lambda key: key not in self._plans)

    def turn(self, bindings: Iterable[NetworkBinding]) -> AbstractContextManager[object]:
        """To be held for a run: waits for runs of other threads where an engine takes one caller at a time."""
        alone = any(not self._backend_of(binding.engine.backend).reentrant for binding in bindings)
        return self._turn.held() if alone else contextlib.nullcontext()

    # --- in a run

    def lease(self, network: str, binding: NetworkBinding) -> Lease:
        """The engine of a network with its weights, loaded if it is not. Of several callers that ask for one at once,
        one loads it and the others wait. network: for messages. Raises PlanError, DeviceError."""
        started = time.perf_counter()
        key = _key(binding)
        with self._lock:
            if self._closed:
                raise PlanError("the engines are closed", where=f"network {network}", hint="open the plan again")
            slot = self._slots.setdefault(key, _Slot(binding))
            slot.users += 1
            slot.used = next(self._clock)
        try:
            with slot.lock:
                if slot.module is not None:
                    return Lease(slot.module, 0.0, slot)
                self._load(network, slot)
        except BaseException:
            self._return(slot)
            raise
        seconds = time.perf_counter() - started
        with self._lock:
            self.load_s += seconds
            self.loads += 1
        assert slot.module is not None
        return Lease(slot.module, seconds, slot)

    def release(self, lease: Lease) -> None:
        """Ends a lease, once. The engine stays loaded while there is room for it."""
        self._return(lease._slot)
        self._make_room()

    # --- memory

    @property
    def loaded_bytes(self) -> int:
        """Estimate of what the loaded engines take: the size of their files."""
        with self._lock:
            return sum(slot.size_bytes for slot in self._slots.values())

    def evict(self, max_bytes: int = 0) -> None:
        """Frees engines that no run uses, least recently used first, until at most max_bytes remain."""
        left = self.loaded_bytes

        def wanted(key: _Key) -> bool:
            nonlocal left
            if left <= max_bytes:
                return False
            left -= self._slots[key].size_bytes
            return True

        self._free(wanted)

    def _free(self, chosen: Callable[[_Key], bool]) -> None:
        """Closes the chosen engines of those that no run uses; asks for the least recently used first."""
        with self._lock:
            idle = sorted((slot.used, key) for key, slot in self._slots.items() if not slot.users)
            gone = [self._slots.pop(key) for _, key in idle if chosen(key)]
        for slot in gone:
            if slot.module is not None:
                log.info("freed an engine of %s (%d bytes)", slot.binding.engine.backend, slot.size_bytes)
            slot.close()

    def close(self) -> None:
        """Frees every engine: now where nobody uses it, else when its lease ends. Leases nothing any more."""
        with self._lock:
            self._closed = True
        self.evict()

    def _make_room(self) -> None:
        """Before an engine is loaded (its slot counts already) and after one was given back."""
        if self._closed:
            self.evict()
        elif self.max_bytes is not None:
            self.evict(self.max_bytes)

    def _return(self, slot: _Slot) -> None:
        with self._lock:
            slot.users -= 1
            if not slot.users and slot.module is None:  # it could not be loaded
                self._slots = {key: other for key, other in self._slots.items() if other is not slot}

    # --- loading

    def _load(self, network: str, slot: _Slot) -> None:
        started, engine = time.perf_counter(), slot.binding.engine
        self._check(network, engine)
        path, weights = self._artifacts.engine_path(engine), self._artifacts.weights(slot.binding.weights)
        try:
            slot.multiplied_bytes = weights.multiplied_bytes
            self._make_room()
            slot.module, slot.weights = self._backend_of(engine.backend).load(path, weights, self._spec), weights
        except BaseException:
            weights.close()
            raise
        seconds = time.perf_counter() - started
        log.info("loaded %s (%s %s) in %.2f s", network, engine.backend, engine.precision, seconds)

    def _check(self, network: str, engine: EngineRef) -> None:
        backend = self._backend_of(engine.backend)
        available = backend.available()
        if not available.can_run:
            raise DeviceError(
                f"this plan's engines are for {engine.backend}, which cannot run here: {available.reason}",
                where=f"network {network}",
                hint=available.hint or "compile with --backend onnxruntime to run on this machine",
            )
        if engine.device != self.device.partition(":")[0]:
            raise DeviceError(
                "the engine is for another device", where=f"network {network}", expected=engine.device, got=self.device
            )
        fingerprint = backend.fingerprint(EngineSpec(engine.precision, engine.device, engine.profile, engine.targets))
        if fingerprint != engine.fingerprint:
            raise PlanError(
                "the engine was built for another machine or library version",
                where=f"network {network}",
                expected=fingerprint,
                got=engine.fingerprint,
                hint=HINT,
            )

    def _backend_of(self, name: str) -> Backend:
        with self._lock:
            if name not in self._backends:
                self._backends[name] = self._backend(name)
            return self._backends[name]


class Leases:
    """The engines that one run has in use, by network; given back at the end of `with`. load_s: spent loading them."""

    def __init__(self, engines: Engines, bindings: Mapping[str, NetworkBinding]) -> None:
        self._engines, self._bindings = engines, bindings
        self._leases: dict[str, Lease] = {}
        self.load_s = 0.0

    def module(self, network: str) -> Module:
        """Raises PlanError, DeviceError."""
        if network not in self._leases:
            lease = self._leases[network] = self._engines.lease(network, self._bindings[network])
            self.load_s += lease.load_s
        return self._leases[network].module

    def release(self, networks: Iterable[str]) -> None:
        """Gives engines back early; those of them that are not in use are left alone."""
        for name in networks:
            if name in self._leases:
                self._engines.release(self._leases.pop(name))

    def __enter__(self) -> Leases:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release(tuple(self._leases))
