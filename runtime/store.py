"""The engine and weight store: files under their content key, safe for several processes at once.

    ROOT/entries/KEY            the bytes
    ROOT/entries/KEY.json       the record: sha256, size, mtime when it was last verified; its own mtime is the last use
    ROOT/temp/KEY~PID-N         being written; stale as soon as nobody holds the lock of KEY
    ROOT/locks/KEY.lock         held while KEY is made or removed

An entry exists when its record does, and the record is renamed into place last: a killed process leaves temp files and
at worst a data file without a record, and both are cleaned by whoever comes next. Reading takes no lock: entries are
never changed in place, and a file that is pruned while mapped stays readable until it is closed.

A read trusts size and mtime that match the record (bytes were hashed when they were written); anything else is hashed
again, and an entry that fails is removed and reported, so that the caller makes it anew.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import filelock
import platformdirs

from graphs.errors import StoreError

log = logging.getLogger(__name__)

DEFAULT_MAX_BYTES = 64 << 30
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{3,200}")
_counter = itertools.count()


@dataclass(frozen=True)
class Entry:
    """One file in the store. used: seconds since the epoch of its last use."""

    key: str
    path: Path
    sha256: str
    size_bytes: int
    used: float


@dataclass(frozen=True)
class _Record:
    sha256: str
    size_bytes: int
    mtime_ns: int


class _HashingFile:
    """Counts and hashes what is written to a file: sequential writes only."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes | memoryview) -> int:
        self._file.write(data)
        self._hash.update(data)
        self.size_bytes += memoryview(data).nbytes
        return memoryview(data).nbytes

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


Sink = _HashingFile
Make = Callable[[Sink], None]


def default_root() -> Path:
    """$COMFYC_CACHE, or the user's cache folder."""
    given = os.environ.get("COMFYC_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("comfyc"))


class Store:
    """max_bytes: after a new entry the least recently used ones go until the total fits; the new one always stays."""

    def __init__(self, root: Path | None = None, max_bytes: int | None = None) -> None:
        self.root = root if root is not None else default_root()
        self.max_bytes = max_bytes if max_bytes is not None else _bound_from_environment()
        self.made = 0  # entries that this object had to make, as opposed to find
        self._entries, self._temp, self._locks = (self.root / n for n in ("entries", "temp", "locks"))

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

    def read_bytes(self, key: str) -> bytes:
        """The content. Raises StoreError when there is none."""
        entry = self.get(key)
        if entry is None:
            raise StoreError("no such entry in the store", where=str(self.root), got=key, hint="compile the plan again")
        return entry.path.read_bytes()

    def ls(self) -> tuple[Entry, ...]:
        """Every entry that has a record, least recently used first; content is not verified."""
        found = [e for e in (self._listed(p) for p in self._entries.glob("*.json")) if e is not None]
        return tuple(sorted(found, key=lambda e: (e.used, e.key)))

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(e.size_bytes for e in self.ls())

    def verify(self) -> tuple[str, ...]:
        """Hashes every entry again. Damaged ones are removed; returns their keys."""
        bad = []
        for entry in self.ls():
            record = self._load_record(entry.key)
            if record is None or not self._matches(entry.path, record):
                self._remove_damaged(entry.key, "its content does not match its hash")
                bad.append(entry.key)
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
        with self._lock(key):
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
            with self._try_lock(entry.key) as held:
                if held:
                    self._remove(entry.key)
                    total -= entry.size_bytes
                    gone.append(entry)
        return tuple(gone)

    # --- inside

    def _paths(self, key: str) -> tuple[Path, Path]:
        if not _KEY.fullmatch(key):
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
        if stat.st_size != record.size_bytes:
            self._remove_damaged(key, f"it has {stat.st_size} bytes, expected {record.size_bytes}")
            return None
        if stat.st_mtime_ns != record.mtime_ns:
            if not self._matches(path, record):
                self._remove_damaged(key, "its content does not match its hash")
                return None
            with contextlib.suppress(OSError):
                self._save_record(key, _Record(record.sha256, record.size_bytes, stat.st_mtime_ns))
        return Entry(key, path, record.sha256, record.size_bytes, used)

    def _listed(self, record_path: Path) -> Entry | None:
        key = record_path.name.removesuffix(".json")
        record = self._load_record(key)
        if record is None:
            return None
        try:
            used = record_path.stat().st_mtime
        except FileNotFoundError:
            return None
        return Entry(key, self._entries / key, record.sha256, record.size_bytes, used)

    def _load_record(self, key: str) -> _Record | None:
        try:
            fields = json.loads(self._paths(key)[1].read_text())
            return _Record(str(fields["sha256"]), int(fields["size_bytes"]), int(fields["mtime_ns"]))
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise StoreError("the store cannot be read", where=str(self.root), got=str(error)) from error
        except (ValueError, KeyError, TypeError, OSError):
            self._remove_damaged(key, "its record cannot be read")
            return None

    def _matches(self, path: Path, record: _Record) -> bool:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
        except OSError:
            return False

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
            record = _Record(sink.sha256, sink.size_bytes, temp.stat().st_mtime_ns)
            os.replace(temp, path)
            self._save_record(key, record)
            _sync_folder(self._entries)
        except OSError as error:
            raise self._explain(error, key, max(expected_bytes, written)) from error
        finally:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
        return Entry(key, path, record.sha256, record.size_bytes, record.mtime_ns / 1e9)

    def _save_record(self, key: str, record: _Record) -> None:
        temp = self._temp / f"{key}~{os.getpid()}-{next(_counter)}.json"
        self._temp.mkdir(parents=True, exist_ok=True)
        with temp.open("w") as file:
            json.dump(asdict(record), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, self._paths(key)[1])

    def _explain(self, error: OSError, key: str, needed: int) -> StoreError:
        free = 0
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.root).free
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreError(
                "the disk of the store is full", where=str(self.root),
                expected=f"{needed} bytes for {key}", got=f"{free} bytes free",
                hint="free some space, run `comfyc cache prune`, or point COMFYC_CACHE to another disk",
            )
        return StoreError(
            f"cannot write {key}: {error.strerror or error}", where=str(self.root),
            hint="check the folder's permissions, or point COMFYC_CACHE to another one",
        )

    def _remove(self, key: str) -> None:
        path, record = self._paths(key)
        record.unlink(missing_ok=True)  # first: without a record there is no entry
        path.unlink(missing_ok=True)

    def _remove_damaged(self, key: str, reason: str) -> None:
        log.warning("store: %s is damaged (%s): removed, it will be made again", key, reason)
        with contextlib.suppress(OSError):
            self._remove(key)

    def _clean_temp(self, key: str) -> None:
        for stale in self._temp.glob(f"{key}~*"):
            stale.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Removes temp files and recordless data whose key nobody is making."""
        recordless = (
            p.name for p in self._entries.glob("*") if p.suffix != ".json" and not self._paths(p.name)[1].exists()
        )
        for key in {*(p.name.partition("~")[0] for p in self._temp.glob("*~*")), *recordless}:
            with self._try_lock(key) as held:
                if held:
                    self._clean_temp(key)
                    if not self._paths(key)[1].exists():
                        self._paths(key)[0].unlink(missing_ok=True)

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self._locks / f"{key}.lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                log.info("store: waiting for another process that makes %s", key)
                lock.acquire()
        except OSError as error:
            raise self._explain(error, key, 0) from error
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _try_lock(self, key: str) -> Iterator[bool]:
        lock = filelock.FileLock(self._locks / f"{key}.lock")
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except (filelock.Timeout, OSError):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def key_of(kind: str, *parts: str) -> str:
    """A store key: "engine-..." or "weights-..." and the hash of everything that decides the content."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return f"{kind}-{digest.hexdigest()[:40]}"


def _bound_from_environment() -> int:
    given = os.environ.get("COMFYC_CACHE_MAX_GB")
    if not given:
        return DEFAULT_MAX_BYTES
    try:
        return int(float(given) * (1 << 30))
    except ValueError as error:
        raise StoreError("COMFYC_CACHE_MAX_GB is not a number", expected="gigabytes, such as 40", got=given) from error


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
