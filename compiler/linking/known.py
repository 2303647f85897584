"""Bindings that were linked before in this process, by everything that decides them.

A server that plans one prompt after the other keeps one: a prompt whose networks are known opens no graph, hashes no
file and reads no key of a checkpoint.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from pathlib import Path

from graphs.plan import NetworkBinding
from graphs.program import NetworkUse
from graphs.values import ModelFile, files
from runtime.store import Store

MOST = 4096  # bindings: a few kilobytes each


class Known:
    """Thread-safe. The oldest go when there are too many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bindings: dict[Hashable, NetworkBinding] = {}

    def get(self, key: Hashable, store: Store) -> NetworkBinding | None:
        """The binding, if all its files are still in the store."""
        with self._lock:
            found = self._bindings.get(key)
        if found is None or not all(store.has(name) for name in _entries(found)):
            return None
        return found

    def put(self, key: Hashable, binding: NetworkBinding) -> None:
        with self._lock:
            self._bindings[key] = binding
            while len(self._bindings) > MOST:
                del self._bindings[next(iter(self._bindings))]


def identity(use: NetworkUse, find: Callable[[ModelFile], Path]) -> Hashable:
    """Equal for uses of the same network with the same files in the same state. Raises ModelMissingError, OSError."""
    states = []
    for file in files(use.weights):
        path = find(file)
        stat = os.stat(path)
        states.append((str(path), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns))
    return use.kind, use.weights, repr(sorted(use.options.items())), tuple(states)


def _entries(binding: NetworkBinding) -> tuple[str, ...]:
    return binding.engine.key, *(layer.key for layer in binding.weights.layers)
