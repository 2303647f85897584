"""What a file holds, as a hash that is computed once: model files are gigabytes and hardly ever change."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from functools import lru_cache
from pathlib import Path

from runtime.store_settings import default_root

log = logging.getLogger(__name__)

_SETTLED_NS = 3_000_000_000  # a file changed just now may change again within the clock's resolution


def content_hash(path: Path, memory: Path | None = None) -> str:
    """sha256 of the file's bytes, in hex. Remembered by path, size, inode and times of change, in the process and in
    the folder `memory` (by default "hashes" in the store's folder). Raises OSError where the file cannot be read."""
    full = path.resolve()
    stat = full.stat()
    changed_ns = max(stat.st_mtime_ns, stat.st_ctime_ns)
    identity = f"{full}|{stat.st_size}|{stat.st_ino}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"
    settled = 0 <= time.time_ns() - changed_ns > _SETTLED_NS
    if not settled:
        return _digest(full)
    return _remembered(full, identity, memory if memory is not None else default_root() / "hashes")


@lru_cache(maxsize=1024)
def _remembered(path: Path, identity: str, memory: Path) -> str:
    note = memory / hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()
    try:
        known = note.read_text(encoding="ascii").strip()
        if len(known) == 64 and set(known) <= set("0123456789abcdef"):
            return known
    except (OSError, ValueError):
        pass  # not hashed before, or a damaged note: hash it
    digest = _digest(path)
    try:
        memory.mkdir(parents=True, exist_ok=True)
        part = note.with_name(f"{note.name}.{os.getpid()}.part")
        part.write_text(digest, encoding="ascii")
        os.replace(part, note)
    except OSError as error:  # without a note the file is hashed again next time
        log.debug("the hash of %s cannot be remembered: %s", path, error)
    return digest


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
