"""The files of the store: how an entry lies on the disk, is read, written and removed. store.py says when.

    ROOT/entries/KEY            the bytes
    ROOT/entries/KEY.json       the record: sha256, size, mtime when it was last verified; its own mtime is the last use
    ROOT/temp/KEY~PID-N         being written; stale as soon as nobody holds the lock of KEY (scratch.py has some, too)
    ROOT/locks/KEY.lock         held while KEY is made or removed

An entry exists when its record does, and the record is renamed into place last: a killed process leaves temp files and
at worst a data file without a record, and both are cleaned by whoever comes next.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from graphs.errors import StoreError
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

log = logging.getLogger(__name__)

_counter = itertools.count()

Sink = HashingFile
Make = Callable[[Sink], None]


@dataclass(frozen=True)
class Entry:
    """One file in the store. used: seconds since the epoch of its last use."""

    key: str
    path: Path
    sha256: str
    size_bytes: int
    used: float


class Entries:
    """Takes no lock: who writes or removes a key holds its lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._entries, self._temp = root / "entries", root / "temp"

    def paths(self, key: str) -> tuple[Path, Path]:
        """Data and record. Raises StoreError where it is no key."""
        if not KEY.fullmatch(key):
            raise StoreError("not a store key", where=str(self.root), got=repr(key))
        return self._entries / key, self._entries / f"{key}.json"

    def read(self, key: str) -> Entry | None:
        """The entry, verified; None when there is none. A damaged one is removed, with a warning. Raises StoreError."""
        path, record_path = self.paths(key)
        record = self._load_record(key)
        if record is None:
            return None
        try:
            stat, used = path.stat(), record_path.stat().st_mtime
        except FileNotFoundError:
            self.remove_damaged(key, "its file is gone")
            return None
        except OSError as error:
            raise self.unreadable(error) from error
        if stat.st_size != record.size_bytes:
            self.remove_damaged(key, f"it has {stat.st_size} bytes, expected {record.size_bytes}")
            return None
        if stat.st_mtime_ns != record.mtime_ns:
            try:
                is_whole = file_sha256(path) == record.sha256
            except OSError as error:
                raise self.unreadable(error) from error
            if not is_whole:
                self.remove_damaged(key, "its content does not match its hash")
                return None
            with contextlib.suppress(OSError):
                self._save_record(key, Record(record.sha256, record.size_bytes, stat.st_mtime_ns))
        return Entry(key, path, record.sha256, record.size_bytes, used)

    def listed(self) -> Iterator[Entry]:
        """Every entry that has a record; content is not verified. Raises StoreError."""
        for record_path in self._entries.glob("*.json"):
            entry = self._listed(record_path)
            if entry is not None:
                yield entry

    @staticmethod
    def is_whole(entry: Entry) -> bool:
        """Whether the content still has its hash. Reads it all. Raises OSError."""
        return file_sha256(entry.path) == entry.sha256

    def write(self, key: str, make: Make, expected_bytes: int) -> Entry:
        """Made by `make(sink)`, or nothing is left behind. Raises StoreError, and whatever make raises."""
        path, _ = self.paths(key)
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
            raise self.cannot_write(error, key, max(expected_bytes, written)) from error
        finally:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
        return Entry(key, path, record.sha256, record.size_bytes, record.mtime_ns / 1e9)

    def remove(self, key: str) -> None:
        path, record = self.paths(key)
        record.unlink(missing_ok=True)  # first: without a record there is no entry
        path.unlink(missing_ok=True)

    def remove_damaged(self, key: str, reason: str) -> None:
        try:
            self.remove(key)
        except OSError as error:
            log.warning("store: %s is damaged (%s), and cannot be removed: %s", key, reason, error)
        else:
            log.warning("store: %s is damaged (%s): removed, it will be made again", key, reason)

    def _clean_temp(self, key: str) -> None:
        for stale in self._temp.glob(f"{key}~*"):
            with contextlib.suppress(OSError):  # a folder is not ours; what may not be removed is for its owner
                stale.unlink(missing_ok=True)

    def leftovers(self) -> set[str]:
        """Keys that have temp files, or data without a record: being made, or left by a killed process."""
        names = {p.name for p in self._entries.glob("*")}
        recordless = {n for n in names if OUR_KEY.fullmatch(n) and f"{n}.json" not in names}
        made = {p.name.partition("~")[0] for p in self._temp.glob("*~*")}
        return {key for key in made if KEY.fullmatch(key)} | recordless

    def clean(self, key: str) -> None:
        """Removes the temp files of a key that nobody is making, and its data where they have no record."""
        self._clean_temp(key)
        path, record = self.paths(key)
        if OUR_KEY.fullmatch(key) and not record.exists():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    # --- inside

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
            return read_record(self.paths(key)[1])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self.unreadable(error) from error
        except DamagedRecordError:
            if OUR_KEY.fullmatch(key):  # else it may be somebody's
                self.remove_damaged(key, "its record is none")
            return None

    def _save_record(self, key: str, record: Record) -> None:
        temp = self._temp / f"{key}~{os.getpid()}-{next(_counter)}.json"
        self._temp.mkdir(parents=True, exist_ok=True)
        with temp.open("wb") as file:
            file.write(record_bytes(record))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, self.paths(key)[1])

    def unreadable(self, error: OSError) -> StoreError:
        what = f"the store cannot be read: {error.strerror or error}"
        hint = "check who may read it and how many files are open, or point COMFYC_CACHE to another folder"
        return StoreError(what, where=str(error.filename or self.root), hint=hint)

    def cannot_write(self, error: OSError | NotImplementedError, key: str, needed: int) -> StoreError:
        """The error to raise: disk full, no permission, no locks. needed: bytes."""
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

def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
