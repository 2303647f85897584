"""The engine and weight store: files under their content key, safe for several processes at once.

    ROOT/entries/KEY            the bytes
    ROOT/entries/KEY.json       the record: sha256, size, mtime when it was last verified; its own mtime is the last use
    ROOT/temp/KEY~PID-N         being written; stale as soon as nobody holds the lock of KEY
    ROOT/locks/KEY.lock         held while KEY is made or removed

An entry exists when its record does, and the record is renamed into place last: a killed process leaves temp files and
at worst a data file without a record, and both are cleaned by whoever comes next. Reading takes no lock: entries are
never changed in place, and a file that is pruned while mapped stays readable until it is closed.

A read trusts size and mtime that match the record (bytes were hashed when they were written); anything else is hashed
again, and an entry that fails is removed and reported, so that the caller makes it anew. Only what was read and differs
is damage: a file that may not be read, or cannot be for a moment, stays, and so does what is not ours.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from graphs.errors import StoreError
from runtime.store_locks import Locks
from runtime.store_records import (
    KEY,
    OUR_KEY,
    DamagedRecordError,
    HashingFile,
    Record,
    file_sha256,
    read_record,
    record_bytes,
)
from runtime.store_settings import default_max_bytes, default_root

log = logging.getLogger(__name__)

_counter = itertools.count()


@dataclass(frozen=True)
class Entry:
    """One file in the store. used: seconds since the epoch of its last use."""

    key: str
    path: Path
    sha256: str
    size_bytes: int
    used: float


Sink = HashingFile
Make = Callable[[Sink], None]


class Store:
    """max_bytes: after a new entry the least recently used ones go until the total fits; the new one always stays."""

    def __init__(self, root: Path | None = None, max_bytes: int | None = None) -> None:
        self.root = root if root is not None else default_root()
        self.max_bytes = max_bytes if max_bytes is not None else default_max_bytes()
        self.made = 0  # entries that this object had to make, as opposed to find
        self._entries, self._temp, self._locks = self.root / "entries", self.root / "temp", Locks(self.root / "locks")

    # --- reading

    def get(self, key: str) -> Entry | None:
        """The entry, verified; None when there is none. A damaged one is removed, with a warning. Raises StoreError."""
        path, record = self._paths(key)
        entry = self._read(key)
        if entry is None:
            return None
        with contextlib.suppress(OSError):  # a read-only store serves as well
            os.utime(record)
        log.debug("store: %s (%d bytes)", path.name, entry.size_bytes)
        return entry

    def has(self, key: str) -> bool:
        """Whether there is such an entry; not verified, not marked as used."""
        return all(os.path.isfile(path) for path in self._paths(key))

    def read_bytes(self, key: str) -> bytes:
        """The content. Raises StoreError when there is none."""
        entry = self.get(key)
        if entry is None:
            raise StoreError("no such entry in the store", where=str(self.root), got=key, hint="compile the plan again")
        try:
            return entry.path.read_bytes()
        except OSError as error:
            raise self._unreadable(error) from error

    def ls(self) -> tuple[Entry, ...]:
        """Every entry that has a record, least recently used first; content is not verified."""
        found = [e for e in (self._listed(p) for p in self._entries.glob("*.json")) if e is not None]
        return tuple(sorted(found, key=lambda e: (e.used, e.key)))

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(e.size_bytes for e in self.ls())

    def verify(self) -> tuple[str, ...]:
        """Hashes every entry again. Damaged ones are removed; returns their keys. Raises StoreError after the last one
        where some could not be read: those stay."""
        bad, unreadable, last = [], 0, None
        for entry in self.ls():
            try:
                if file_sha256(entry.path) == entry.sha256:
                    continue
            except FileNotFoundError:
                pass
            except OSError as error:
                unreadable, last = unreadable + 1, error
                continue
            self._remove_damaged(entry.key, "its content does not match its hash")
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
                raise self._explain(error, key, 0) from error
            entry = self.get(key)
            if entry is not None:
                return entry, False
            made = self._write(key, make, expected_bytes)
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
        self._sweep()
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
                        self._remove(entry.key)
                    except OSError as error:
                        log.warning("store: %s cannot be removed: %s", entry.key, error)
                        continue
                    total -= entry.size_bytes
                    gone.append(entry)
        return tuple(gone)

    # --- inside

    def _paths(self, key: str) -> tuple[Path, Path]:
        if not KEY.fullmatch(key):
            raise StoreError("not a store key", where=str(self.root), got=repr(key))
        return self._entries / key, self._entries / f"{key}.json"

    def _read(self, key: str) -> Entry | None:
        path, record_path = self._paths(key)
        record = self._load_record(key)
        if record is None:
            return None
        try:
            stat, used = path.stat(), record_path.stat().st_mtime
        except FileNotFoundError:
            self._remove_damaged(key, "its file is gone")
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        if stat.st_size != record.size_bytes:
            self._remove_damaged(key, f"it has {stat.st_size} bytes, expected {record.size_bytes}")
            return None
        if stat.st_mtime_ns != record.mtime_ns:
            try:
                is_whole = file_sha256(path) == record.sha256
            except OSError as error:
                raise self._unreadable(error) from error
            if not is_whole:
                self._remove_damaged(key, "its content does not match its hash")
                return None
            with contextlib.suppress(OSError):
                self._save_record(key, Record(record.sha256, record.size_bytes, stat.st_mtime_ns))
        return Entry(key, path, record.sha256, record.size_bytes, used)

    def _listed(self, record_path: Path) -> Entry | None:
        key = record_path.name.removesuffix(".json")
        if not KEY.fullmatch(key) or not record_path.is_file():
            return None
        record = self._load_record(key)
        if record is None:
            return None
        try:
            used = record_path.stat().st_mtime
        except FileNotFoundError:
            return None
        return Entry(key, self._entries / key, record.sha256, record.size_bytes, used)

    def _load_record(self, key: str) -> Record | None:
        try:
            return read_record(self._paths(key)[1])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        except DamagedRecordError:
            if OUR_KEY.fullmatch(key):  # else it may be somebody's
                self._remove_damaged(key, "its record is none")
            return None

    def _write(self, key: str, make: Make, expected_bytes: int) -> Entry:
        path, _ = self._paths(key)
        self._clean_temp(key)
        temp = self._temp / f"{key}~{os.getpid()}-{next(_counter)}"
        written = 0
        try:
            self._temp.mkdir(parents=True, exist_ok=True)
            self._entries.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._temp).free
            if expected_bytes > free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with temp.open("wb") as file:
                sink = Sink(file)
                try:
                    make(sink)
                finally:
                    written = sink.size_bytes
                file.flush()
                os.fsync(file.fileno())
            record = Record(sink.sha256, sink.size_bytes, temp.stat().st_mtime_ns)
            os.replace(temp, path)
            self._save_record(key, record)
            _sync_folder(self._entries)
        except OSError as error:
            raise self._explain(error, key, max(expected_bytes, written)) from error
        finally:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
        return Entry(key, path, record.sha256, record.size_bytes, record.mtime_ns / 1e9)

    def _save_record(self, key: str, record: Record) -> None:
        temp = self._temp / f"{key}~{os.getpid()}-{next(_counter)}.json"
        self._temp.mkdir(parents=True, exist_ok=True)
        with temp.open("wb") as file:
            file.write(record_bytes(record))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, self._paths(key)[1])

    def _explain(self, error: OSError | NotImplementedError, key: str, needed: int) -> StoreError:
        free = 0
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.root).free
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreError(
                "the disk of the store is full", where=str(self.root),
                expected=f"{needed} bytes for {key}", got=f"{free} bytes free",
                hint="free some space, run `comfyc cache prune`, or point COMFYC_CACHE to another disk",
            )
        return StoreError(
            f"cannot write {key}: {getattr(error, 'strerror', None) or error}", where=str(self.root),
            hint="check the folder's permissions, or point COMFYC_CACHE to another one",
        )

    def _unreadable(self, error: OSError) -> StoreError:
        what = f"the store cannot be read: {error.strerror or error}"
        hint = "check who may read it and how many files are open, or point COMFYC_CACHE to another folder"
        return StoreError(what, where=str(error.filename or self.root), hint=hint)

    def _remove(self, key: str) -> None:
        path, record = self._paths(key)
        record.unlink(missing_ok=True)  # first: without a record there is no entry
        path.unlink(missing_ok=True)

    def _remove_damaged(self, key: str, reason: str) -> None:
        try:
            self._remove(key)
        except OSError as error:
            log.warning("store: %s is damaged (%s), and cannot be removed: %s", key, reason, error)
        else:
            log.warning("store: %s is damaged (%s): removed, it will be made again", key, reason)

    def _clean_temp(self, key: str) -> None:
        for stale in self._temp.glob(f"{key}~*"):
            with contextlib.suppress(OSError):  # a folder is not ours; what may not be removed is for its owner
                stale.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Removes temp files and recordless data whose key nobody is making."""
        names = {p.name for p in self._entries.glob("*")}
        recordless = {n for n in names if OUR_KEY.fullmatch(n) and f"{n}.json" not in names}
        made = {p.name.partition("~")[0] for p in self._temp.glob("*~*")}
        for key in {key for key in made if KEY.fullmatch(key)} | recordless:
            with self._locks.attempt(key) as held:
                if held:
                    self._clean_temp(key)
                    if OUR_KEY.fullmatch(key) and not self._paths(key)[1].exists():
                        with contextlib.suppress(OSError):
                            self._paths(key)[0].unlink(missing_ok=True)


def key_of(kind: str, *parts: str) -> str:
    """A store key: "engine-..." or "weights-..." and the hash of everything that decides the content."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return f"{kind}-{digest.hexdigest()[:40]}"


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(_: object) -> None:
    return None
