"""Engines and weights of a plan, read from the store."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from pathlib import Path

from graphs.errors import PlanError
from graphs.plan import EngineRef, Plan, WeightRef
from runtime.network_weights import LayerFile, NetworkWeights
from runtime.scratch import make_scratch
from runtime.store import Entry, Store
from runtime.store_records import file_sha256

log = logging.getLogger(__name__)


class StoreArtifacts:
    """The files that a plan refers to, checked against the hashes in the plan."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def engine_path(self, engine: EngineRef) -> Path:
        """Raises PlanError, StoreError."""
        return self._entry(engine.key, engine.sha256).path

    def weights(self, weights: WeightRef) -> NetworkWeights:
        """Raises PlanError, StoreError."""
        layers = [LayerFile(self._entry(one.key, one.sha256).path, one.strength) for one in weights.layers]
        return NetworkWeights(layers, partial(make_scratch, self._store.root))

    def _entry(self, key: str, sha256: str) -> Entry:
        hint = "compile the workflow again"
        entry = self._store.get(key)
        if entry is None:
            raise PlanError(f"{key} is not in the store", where=str(self._store.root), hint=hint)
        if entry.sha256 != sha256:
            what, where = f"{key} has changed since the plan was made", str(self._store.root)
            raise PlanError(what, where=where, expected=sha256, got=entry.sha256, hint=hint)
        return entry


def verify_files(plan: Plan, store: Store) -> None:
    """Hashes every engine and weight file of a plan: what a read of the store takes on trust where size and time fit.

    Damaged ones are removed. Raises PlanError naming them, StoreError.
    """
    began, size_bytes, damaged = time.perf_counter(), 0, []
    needed = {b.engine.key: b.engine.sha256 for b in plan.bindings.values()}
    needed |= {layer.key: layer.sha256 for b in plan.bindings.values() for layer in b.weights.layers}
    for key, sha256 in needed.items():
        entry = store.get(key)
        if entry is None:
            damaged.append(key)
            continue
        size_bytes += entry.size_bytes
        try:
            is_whole = file_sha256(entry.path) == sha256
            if not is_whole:
                os.utime(entry.path)  # so that the store no longer trusts it: it hashes it again, and removes it
                store.get(key)
                damaged.append(key)
        except OSError as error:
            what = f"an engine or weight file cannot be read: {error.strerror}"
            raise PlanError(what, where=str(entry.path), hint="check its permissions and the disk") from error
    if damaged:
        what = "engines or weights of the plan are damaged"
        raise PlanError(what, where=str(store.root), got=", ".join(damaged), hint="compile the workflow again")
    seconds = time.perf_counter() - began
    log.info("%d files, %d bytes, are whole: hashed in %.1f s", len(needed), size_bytes, seconds)
