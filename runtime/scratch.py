"""Files that last as long as somebody uses them, in the store's folder of temporary files.

    ROOT/temp/scratch-RANDOM~PID    stale as soon as nobody holds the lock of its key, like all that lies there

A process that ends deletes its own; those of one that was killed go when the next is made, or the store is pruned.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import weakref
from pathlib import Path

from graphs.errors import StoreError
from runtime.store_locks import Locks

_KIND = "scratch"


class Scratch:
    """A file that its owner may write and map, until close() or the end of the process. It need not exist."""

    def __init__(self, path: Path, held: contextlib.ExitStack) -> None:
        self.path = path
        self._end = weakref.finalize(self, _remove, path, held)

    def close(self) -> None:
        """From any thread; again does nothing."""
        self._end()


def make_scratch(root: Path, size_bytes: int) -> Scratch:
    """An empty place in the store at `root` for that many bytes. Raises StoreError: no room, no permission."""
    temp, locks = root / "temp", Locks(root / "locks")
    key = f"{_KIND}-{secrets.token_hex(20)}"
    held = contextlib.ExitStack()
    try:
        temp.mkdir(parents=True, exist_ok=True)
        _sweep(temp, locks)
        if shutil.disk_usage(temp).free < size_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        held.enter_context(locks.held(key, once=True))
    except (OSError, NotImplementedError) as error:
        raise scratch_error(error, root, size_bytes) from error
    return Scratch(temp / f"{key}~{os.getpid()}", held)


def scratch_error(error: OSError | NotImplementedError, root: Path, size_bytes: int) -> StoreError:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "the disk of the store is full" if full else f"cannot write beside the store: {error}"
    return StoreError(
        what, where=str(root), expected=f"{size_bytes} bytes for weights with a LoRA multiplied out",
        hint="free some space, run `comfyc cache prune`, or point COMFYC_CACHE to another disk",
    )  # fmt: skip


def _remove(path: Path, held: contextlib.ExitStack) -> None:
    with contextlib.suppress(OSError):  # where a mapped file cannot be deleted, it is swept later
        path.unlink(missing_ok=True)
    held.close()


def _sweep(temp: Path, locks: Locks) -> None:
    for stale in temp.glob(f"{_KIND}-*~*"):
        with locks.attempt(stale.name.partition("~")[0]) as free, contextlib.suppress(OSError):
            if free:
                stale.unlink(missing_ok=True)
