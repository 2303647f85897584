"""Locks of the store: one process at a time makes or removes an entry."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

log = logging.getLogger(__name__)


class Locks:
    """FOLDER/KEY.lock, made when first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def held(self, key: str, *, once: bool = False) -> Iterator[None]:
        """Waits for whoever has it; any thread may end it. once: nobody ever asks for that key again, so that its file
        goes. Raises OSError, NotImplementedError (a file system without locks)."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._folder / f"{key}.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            log.info("store: waiting for another process that makes %s", key)
            lock.acquire()
        try:
            yield
        finally:
            if once:
                with contextlib.suppress(OSError):
                    os.unlink(lock.lock_file)
            lock.release()

    @contextlib.contextmanager
    def attempt(self, key: str) -> Iterator[bool]:
        """Gives False where somebody else has it, or nobody can."""
        lock = filelock.FileLock(self._folder / f"{key}.lock")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except (filelock.Timeout, OSError, NotImplementedError):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
