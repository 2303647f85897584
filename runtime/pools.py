"""The pools of engines of this process: sessions of one store and device share one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

from runtime.artifacts import StoreArtifacts
from runtime.backends.backend import Backend
from runtime.engines import Artifacts, Engines
from runtime.store import Store

_POOLS: WeakValueDictionary[tuple[Path, str, int], Engines] = WeakValueDictionary()  # sessions hold them
_POOLS_LOCK = threading.Lock()


def pool(
    store: Store | None, artifacts: Artifacts | None, backend: Callable[[str], Backend] | None, device: str,
    threads: int,
) -> Engines:  # fmt: skip
    """The pool of this process for a store, a device and a number of threads; a new one for other sources of artifacts
    or backends."""
    if artifacts is not None:
        return Engines(artifacts, backend, device=device, threads=threads)
    store = store if store is not None else Store()
    if backend is not None:
        return Engines(StoreArtifacts(store), backend, device=device, threads=threads)
    key = (store.root.absolute(), device, threads)
    with _POOLS_LOCK:
        found = _POOLS.get(key)
        if found is None:
            found = _POOLS[key] = Engines(StoreArtifacts(store), device=device, threads=threads)
        return found
