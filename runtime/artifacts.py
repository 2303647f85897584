"""Engines and weights of a plan, read from the store."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from graphs.errors import PlanError
from graphs.plan import EngineRef, WeightRef
from runtime.network_weights import LayerFile, NetworkWeights
from runtime.scratch import make_scratch
from runtime.store import Entry, Store


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
