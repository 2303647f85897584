"""Plan <-> a folder: plan.json, readable and versioned, and constants.safetensors beside it.

The folder is written elsewhere and renamed into place: a killed compile leaves the old plan or none. plan.json carries
the sum of its content and that of the constants, so that a damaged file is told from one that was compiled differently.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphs.errors import PlanError
from graphs.json_form import HINT, from_json, to_json
from graphs.plan import PLAN_VERSION, Plan
from graphs.plan_check import check_plan

Json = Any

PLAN_FILE = "plan.json"
CONSTANTS_FILE = "constants.safetensors"
SEAL_FILE = "seal"  # runtime/plan_seal.py
MAX_PLAN_BYTES = 256 << 20  # a hundred times the largest that we know of
_FIRST = ("version", "comfyc_version", "backend", "device", "compat", "profile")  # on top of the file
_LINE = 118  # what fits is written on one line


@dataclass(frozen=True)
class Digest:
    """Of constants.safetensors."""

    sha256: str
    size_bytes: int


def save_plan(
    plan: Plan, constants: Path | bytes | None, directory: Path, seal: Callable[[bytes], str | None] | None = None
) -> None:
    """Writes the plan folder, in place of a plan that is there. constants: a safetensors file or its bytes. seal: makes
    a mark of the bytes of plan.json.

    Raises PlanError where the directory holds something else than a plan, or cannot be written.
    """
    directory = Path(os.path.abspath(directory))
    _refuse_foreign(directory)
    fresh = directory.parent / f".{directory.name}.{secrets.token_hex(6)}"
    try:
        fresh.mkdir(parents=True)
        if isinstance(constants, Path):
            shutil.copyfile(constants, fresh / CONSTANTS_FILE)
        elif constants is not None:
            (fresh / CONSTANTS_FILE).write_bytes(constants)
        document = plan_to_json(plan)
        document["constants"] = to_json(_digest(fresh / CONSTANTS_FILE)) if constants is not None else None
        document["sha256"] = content_sum(document)
        content = f"{_pretty(document)}\n".encode()
        if seal is not None and (mark := seal(content)) is not None:
            (fresh / SEAL_FILE).write_text(f"{mark}\n", "ascii")
        with open(fresh / PLAN_FILE, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _swap(fresh, directory)
    except OSError as error:
        hint = "free some space or choose another folder"
        raise PlanError(f"cannot write the plan to {directory}: {error.strerror}", hint=hint) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def load_plan(directory: Path) -> Plan:
    """Reads and verifies a plan folder. Raises PlanError: not a plan, another version, damaged, constants changed."""
    path = Path(directory) / PLAN_FILE
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > MAX_PLAN_BYTES):  # a pipe waits for ever
            raise ValueError(f"it is no file of at most {MAX_PLAN_BYTES} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanError(f"{directory} is not a plan: it has no {PLAN_FILE}", hint="compile a workflow to it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise PlanError(f"cannot read {path}: {error}", hint=HINT) from error
    where = str(path)
    if not isinstance(document, dict):
        raise PlanError("damaged plan", where=where, expected="an object", got=type(document).__name__, hint=HINT)
    _check_version(document, where)
    if document.pop("sha256", None) != content_sum(document):
        hint = f"plan.json was changed after it was written; {HINT}"
        raise PlanError("damaged plan", where=where, expected="the sum that it was written with", hint=hint)
    if "constants" not in document:
        raise PlanError("damaged plan", where=where, expected="a field 'constants'", got="none", hint=HINT)
    digest = from_json(document.pop("constants"), Digest | None, f"{where}.constants")  # type: ignore[arg-type]
    plan = plan_from_json(document, where)
    file = Path(directory) / CONSTANTS_FILE
    check_plan(plan, frozenset() if digest is None else _verified(file, digest), where)
    return plan


def plan_to_json(plan: Plan) -> dict[str, Json]:
    """Everything but the sums, in the order in which it is written."""
    document: dict[str, Json] = to_json(plan)
    return {**{name: document[name] for name in _FIRST}, **document}


def plan_from_json(document: Json, where: str) -> Plan:
    """Raises PlanError."""
    return from_json(document, Plan, where)


def _check_version(document: dict[str, Json], where: str) -> None:
    """Before anything else is read: another version has another form."""
    version = document.get("version")
    if version != PLAN_VERSION:
        expected, got = str(PLAN_VERSION), repr(version)
        raise PlanError("a plan of another version", where=where, expected=expected, got=got, hint=HINT)


def content_sum(document: Json) -> str:
    """The sum that plan.json carries, of all its other fields: of the content, not of its layout."""
    return hashlib.sha256(json.dumps(document, separators=(",", ":")).encode()).hexdigest()


# --- the folder -----------------------------------------------------------------------------------------------------


def _digest(path: Path) -> Digest:
    with open(path, "rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def _verified(path: Path, wanted: Digest) -> frozenset[str]:
    """The names of the constants. Raises PlanError where the file is another one, or no safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        size_bytes = path.stat().st_size
        fits = path.is_file() and size_bytes == wanted.size_bytes  # nothing is read of a pipe or a device
        if not fits or _digest(path) != wanted:
            raise PlanError(f"{path} is not the file that the plan was written with", hint=HINT)
        with safe_open(path, "np") as file:
            return frozenset(file.keys())
    except OSError as error:
        raise PlanError(f"cannot read {path}: {error.strerror}", hint=HINT) from error
    except SafetensorError as error:
        raise PlanError(f"cannot read {path}: {error}", hint=HINT) from error


def _refuse_foreign(directory: Path) -> None:
    """A racing writer moves its plan aside before it deletes it: what was seen counts if it is still in its place."""
    while True:
        seen = _identity(directory)
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise PlanError(f"{directory} is a file", hint="choose another folder") from None
        if not names or PLAN_FILE in names:
            return
        if _identity(directory) == seen:
            raise PlanError(f"{directory} holds something else than a plan", hint="choose another folder")


def _identity(directory: Path) -> tuple[int, int] | None:
    """Which folder is there, in which state; None when there is none."""
    try:
        stat = os.stat(directory)
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def _swap(fresh: Path, directory: Path) -> None:
    """Renames fresh to directory. What was there goes first aside, then away; a racing writer may win, never mix."""
    old = fresh.with_name(fresh.name + ".old")
    while True:
        with contextlib.suppress(FileNotFoundError):
            os.rename(directory, old)
        try:
            os.rename(fresh, directory)
            break
        except OSError as error:
            # another writer's plan was there at this moment, even if a third one has moved it aside by now
            taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST) or directory.exists()
            if not taken:
                if old.exists():
                    os.rename(old, directory)
                raise
            shutil.rmtree(old, ignore_errors=True)  # it was faster: replace it
    shutil.rmtree(old, ignore_errors=True)


def _pretty(value: Json, indent: int = 0) -> str:
    """JSON in which every object and list that fits into a line is one line."""
    compact = json.dumps(value, ensure_ascii=False)
    if len(compact) + indent <= _LINE or not isinstance(value, dict | list) or not value:
        return compact
    inner = " " * (indent + 1)
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(k, ensure_ascii=False)}: {_pretty(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(inner + _pretty(v, indent + 1) for v in value) + "\n" + " " * indent + "]"
