"""The record of a store entry: what its file was when it was last verified."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

KEY = re.compile(r"[a-z0-9][a-z0-9._-]{3,200}")
OUR_KEY = re.compile(r"[a-z][a-z0-9_]*-[0-9a-f]{40}")  # as key_of makes them: what else lies there is not ours
_MAX_RECORD_BYTES = 1 << 16


@dataclass(frozen=True)
class Record:
    sha256: str
    size_bytes: int
    mtime_ns: int


class DamagedRecordError(Exception):
    """A record that was read, and is none."""


def read_record(path: Path) -> Record:
    """Raises DamagedRecordError, OSError."""
    with path.open("rb") as file:
        data = file.read(_MAX_RECORD_BYTES)
    try:
        fields = json.loads(data)
        record = Record(str(fields["sha256"]), int(fields["size_bytes"]), int(fields["mtime_ns"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DamagedRecordError(str(error)) from error
    if not re.fullmatch(r"[0-9a-f]{64}", record.sha256) or record.size_bytes < 0:
        raise DamagedRecordError(str(record))
    return record


def record_bytes(record: Record) -> bytes:
    return json.dumps(asdict(record)).encode()


def file_sha256(path: Path) -> str:
    """Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class HashingFile:
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
