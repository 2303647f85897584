"""Whether a plan was made here: a file beside plan.json that only who has the store's key can write.

The key lies in the store, one for each user: a plan and the store that it was made with can move to another machine
together. docs/adr/0060-plans-of-strangers.md says what that protects from, and what not.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import stat
from pathlib import Path

from graphs.errors import PlanError
from graphs.plan_json import PLAN_FILE, SEAL_FILE

log = logging.getLogger(__name__)

_KEY_BYTES = 32
_HINT = "compile the workflow yourself, or give --trust-plan (trust=True) if you know where the plan comes from"


def seal(content: bytes, root: Path) -> str | None:
    """Of the bytes of plan.json. root: of the store. None, and a warning, where there can be no key."""
    try:
        key = _key(root) or _new_key(root)
    except OSError as error:
        key = None
        log.warning("the plan is not sealed, and runs with --trust-plan alone: %s: %s", _key_file(root), error.strerror)
    return None if key is None else _mark(key, content).decode()


def require_own(plan_dir: Path, root: Path) -> None:
    """Raises PlanError for a plan that was not made with this store, or was changed since."""
    try:
        content = _regular(plan_dir / PLAN_FILE)
        said = _regular(plan_dir / SEAL_FILE).strip()
        key = _key(root)
    except OSError:
        said, key = b"", None
    if key is None or not hmac.compare_digest(_mark(key, content), said):
        what = "the plan was not made here, or was changed since: what it names may be code"
        raise PlanError(what, where=str(plan_dir), expected=f"sealed with the key of {root}", hint=_HINT)


def _mark(key: bytes, content: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).hexdigest().encode()


def _key_file(root: Path) -> Path:
    return root / f"plan-{os.getuid() if hasattr(os, 'getuid') else 'user'}.key"


def _key(root: Path) -> bytes | None:
    """None where there is none, or one that others may have written or read. Raises OSError."""
    try:
        content, status = _regular(_key_file(root)), os.stat(_key_file(root), follow_symlinks=False)
    except FileNotFoundError:
        return None
    foreign = hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o077)
    if foreign or len(content) != _KEY_BYTES:
        log.warning("%s is not used as a key: it has to be a file of yours that nobody else may read", _key_file(root))
        return None
    return content


def _new_key(root: Path) -> bytes | None:
    """Raises OSError. Of two processes that make it at once, one wins, for both. None where one is there already."""
    root.mkdir(parents=True, exist_ok=True)
    fresh = root / f".key-{secrets.token_hex(6)}"
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(fresh, _key_file(root))  # unlike a rename, never in place of another
    finally:
        fresh.unlink(missing_ok=True)
    return _key(root)


def _regular(path: Path) -> bytes:
    """The content of a file, not of a pipe or device, which might never end. Raises OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise FileNotFoundError(path)
    return path.read_bytes()
