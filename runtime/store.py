"""The engine and weight store: files under their content key, safe for several processes at once.

store_entries.py has how an entry lies on the disk. Reading takes no lock: entries are never changed in place, and a
file that is pruned while mapped stays readable until it is closed.

A read trusts size and mtime that match the record (bytes were hashed when they were written); anything else is hashed
again, and an entry that fails is removed and reported, so that the caller makes it anew. Only what was read and differs
is damage: a file that may not be read, or cannot be for a moment, stays, and so does what is not ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path

from graphs.errors import StoreError
from runtime.store_entries import Entries, Entry, Make, Sink
from runtime.store_locks import Locks
from runtime.store_settings import default_max_bytes, default_root

__all__ = ["Entry", "Make", "Sink", "Store", "key_of"]

log = logging.getLogger(__name__)


class Store:
    """max_bytes: after a new entry the least recently used ones go until the total fits; the new one always stays."""

    def __init__(self, root: Path | None = None, max_bytes: int | None = None) -> None:
        self.root = root if root is not None else default_root()
        self.max_bytes = max_bytes if max_bytes is not None else default_max_bytes()
        self.made = 0  # entries that this object had to make, as opposed to find
        self._entries, self._locks = Entries(self.root), Locks(self.root / "locks")

    # --- reading

    def get(self, key: str) -> Entry | None:
        """The entry, verified; None when there is none. A damaged one is removed, with a warning. Raises StoreError."""
        path, record = self._entries.paths(key)
        entry = self._entries.read(key)
        if entry is None:
            return None
        with contextlib.suppress(OSError):  # a read-only store serves as well
            os.utime(record)
        log.debug("store: %s (%d bytes)", path.name, entry.size_bytes)
        return entry

    def has(self, key: str) -> bool:
        """Whether there is such an entry; not verified, not marked as used."""
        return all(os.path.isfile(path) for path in self._entries.paths(key))

    def read_bytes(self, key: str) -> bytes:
        """The content. Raises StoreError when there is none."""
        entry = self.get(key)
        if entry is None:
            raise StoreError("no such entry in the store", where=str(self.root), got=key, hint="compile the plan again")
        try:
            return entry.path.read_bytes()
        except OSError as error:
            raise self._entries.unreadable(error) from error

    def ls(self) -> tuple[Entry, ...]:
        """Every entry that has a record, least recently used first; content is not verified."""
        return tuple(sorted(self._entries.listed(), key=lambda e: (e.used, e.key)))

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(e.size_bytes for e in self.ls())

    def verify(self) -> tuple[str, ...]:
        """Hashes every entry again. Damaged ones are removed; returns their keys. Raises StoreError after the last one
        where some could not be read: those stay."""
        bad, unreadable, last = [], 0, None
        for entry in self.ls():
            try:
                if self._entries.is_whole(entry):
                    continue
            except FileNotFoundError:
                pass
            except OSError as error:
                unreadable, last = unreadable + 1, error
                continue
            self._entries.remove_damaged(entry.key, "its content does not match its hash")
            bad.append(entry.key)
        if last is not None:
            what = f"{unreadable} files of the store cannot be read and were not checked, {len(bad)} were damaged"
            raise StoreError(what, where=str(self.root), got=str(last)) from last
        return tuple(bad)

    # --- writing

    def get_or_make(self, key: str, make: Make, expected_bytes: int = 0) -> tuple[Entry, bool]:
        """The entry, made by `make(sink)` if there is none; True when this call made it.

        Of several processes that ask for one key at once, one makes it and the others wait and read it.
        Raises StoreError (disk full, no permission), and whatever make raises, leaving nothing behind.
        """
        entry = self.get(key)
        if entry is not None:
            return entry, False
        with contextlib.ExitStack() as locked:
            try:
                locked.enter_context(self._locks.held(key))
            except (OSError, NotImplementedError) as error:
                raise self._entries.cannot_write(error, key, 0) from error
            entry = self.get(key)
            if entry is not None:
                return entry, False
            made = self._entries.write(key, make, expected_bytes)
            self.made += 1
        self.prune(self.max_bytes, keep=frozenset({key}))
        return made, True

    def put(self, key: str, content: bytes) -> Entry:
        """Stores bytes under a key; an entry that is there already stays as it is."""
        return self.get_or_make(key, lambda sink: _discard(sink.write(content)), len(content))[0]

    def prune(self, max_bytes: int = 0, keep: frozenset[str] = frozenset()) -> tuple[Entry, ...]:
        """Removes least recently used entries until at most max_bytes remain, and leftovers of killed processes.

        Entries that are being made stay. Returns what went.
        """
        for key in self._entries.leftovers():
            with self._locks.attempt(key) as held:
                if held:
                    self._entries.clean(key)
        entries = self.ls()
        total = sum(e.size_bytes for e in entries)
        gone = []
        for entry in entries:
            if total <= max_bytes:
                break
            if entry.key in keep:
                continue
            with self._locks.attempt(entry.key) as held:
                if held:
                    try:
                        self._entries.remove(entry.key)
                    except OSError as error:
                        log.warning("store: %s cannot be removed: %s", entry.key, error)
                        continue
                    total -= entry.size_bytes
                    gone.append(entry)
        return tuple(gone)


def key_of(kind: str, *parts: str) -> str:
    """A store key: "engine-..." or "weights-..." and the hash of everything that decides the content."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return f"{kind}-{digest.hexdigest()[:40]}"


def _discard(_: object) -> None:
    return None
