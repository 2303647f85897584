"""Engines and weights of a plan, read from the store."""

from __future__ import annotations

from pathlib import Path

from graphs.errors import PlanError
from graphs.plan import EngineRef, WeightRef
from runtime.store import Entry, Store


class StoreArtifacts:
    """The files that a plan refers to, checked against the hashes in the plan."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def engine_path(self, engine: EngineRef) -> Path:
        """Raises PlanError, StoreError."""
        return self._entry(engine.key, engine.sha256).path

    def weights_paths(self, weights: WeightRef) -> tuple[Path, ...]:
        """Raises PlanError, StoreError."""
        return tuple(self._entry(layer.key, layer.sha256).path for layer in weights.layers)

    def _entry(self, key: str, sha256: str) -> Entry:
        hint = "compile the workflow again"
        entry = self._store.get(key)
        if entry is None:
            raise PlanError(f"{key} is not in the store", where=str(self._store.root), hint=hint)
        if entry.sha256 != sha256:
            what, where = f"{key} has changed since the plan was made", str(self._store.root)
            raise PlanError(what, where=where, expected=sha256, got=entry.sha256, hint=hint)
        return entry
