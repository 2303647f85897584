"""Plan <-> a folder: plan.json, readable and versioned, and constants.safetensors beside it.

The folder is written elsewhere and renamed into place: a killed compile leaves the old plan or none.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphs.dims import Size, size_from_json, size_to_json
from graphs.errors import PlanError
from graphs.json_reading import (
    HINT,
    Record,
    anything,
    integer,
    listed,
    mapped,
    number,
    optional,
    pair,
    text,
    wrong,
)
from graphs.plan import PLAN_VERSION, EngineRef, NetworkBinding, PassRecord, Plan, Profile, WeightRef
from graphs.plan_check import check_plan
from graphs.program_json import program_from_json, program_to_json

Json = Any

PLAN_FILE = "plan.json"
CONSTANTS_FILE = "constants.safetensors"
_LINE = 118  # what fits is written on one line


def save_plan(plan: Plan, constants: Path | bytes | None, directory: Path) -> None:
    """Writes the plan folder, in place of a plan that is there. constants: a safetensors file or its bytes.

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
        document["constants"] = _digest(fresh / CONSTANTS_FILE) if constants is not None else None
        with open(fresh / PLAN_FILE, "w", encoding="utf-8") as file:
            file.write(_pretty(document) + "\n")
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
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanError(f"{directory} is not a plan: it has no {PLAN_FILE}", hint="compile a workflow to it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise PlanError(f"cannot read {path}: {error}", hint=HINT) from error
    where = str(path)
    constants = Record(document, where).field("constants", optional(mapped(anything)))
    plan = plan_from_json({name: value for name, value in document.items() if name != "constants"}, where)
    if constants is not None:
        _verify(Path(directory) / CONSTANTS_FILE, constants, f"{where}.constants")
    keys = frozenset() if constants is None else frozenset(_tensor_names(Path(directory) / CONSTANTS_FILE))
    check_plan(plan, keys, where)
    return plan


def plan_to_json(plan: Plan) -> dict[str, Json]:
    """Everything but the constants' digest, in the order in which it is written."""
    profile = plan.profile
    return {
        "version": plan.version,
        "comfyc_version": plan.comfyc_version,
        "backend": plan.backend,
        "device": plan.device,
        "compat": plan.compat,
        "profile": {name: list(getattr(profile, name)) for name in ("batch", "height", "width", "text")},
        "program": program_to_json(plan.program),
        "bindings": {name: _binding_to_json(binding) for name, binding in plan.bindings.items()},
        "passes": [
            {"name": p.name, "phase": p.phase, "seconds": p.seconds, "changes": [list(c) for c in p.changes]}
            for p in plan.passes
        ],
        "embeddings": dict(plan.embeddings),
        "prompt": dict(plan.prompt),
        "workflow": None if plan.workflow is None else dict(plan.workflow),
    }


def plan_from_json(document: Json, where: str) -> Plan:
    """Raises PlanError."""
    record = Record(document, where)
    version = record.field("version", integer)
    if version != PLAN_VERSION:
        expected, got = str(PLAN_VERSION), str(version)
        raise PlanError("a plan of another version", where=where, expected=expected, got=got, hint=HINT)
    plan = Plan(
        version=version,
        comfyc_version=record.field("comfyc_version", text),
        backend=record.field("backend", text),
        device=record.field("device", text),
        compat=record.field("compat", text),
        profile=record.field("profile", _profile),
        program=record.field("program", program_from_json),
        bindings=record.field("bindings", mapped(_binding)),
        passes=record.field("passes", listed(_pass)),
        embeddings=record.field("embeddings", mapped(text)),
        prompt=record.field("prompt", mapped(anything)),
        workflow=record.field("workflow", optional(mapped(anything))),
    )
    record.close()
    return plan


def _binding_to_json(binding: NetworkBinding) -> Json:
    engine, weights = binding.engine, binding.weights
    return {
        "engine": {
            "key": engine.key,
            "sha256": engine.sha256,
            "size_bytes": engine.size_bytes,
            "backend": engine.backend,
            "fingerprint": engine.fingerprint,
            "precision": engine.precision,
            "architecture": dict(engine.architecture),
            "inputs": _tensors_to_json(engine.inputs),
            "outputs": _tensors_to_json(engine.outputs),
        },
        "weights": {
            "key": weights.key,
            "sha256": weights.sha256,
            "size_bytes": weights.size_bytes,
            "sources": [list(source) for source in weights.sources],
        },
    }


def _tensors_to_json(tensors: Mapping[str, tuple[str, tuple[Size, ...]]]) -> Json:
    return {name: [dtype, [size_to_json(size) for size in shape]] for name, (dtype, shape) in tensors.items()}


def _binding(value: Json, where: str) -> NetworkBinding:
    record = Record(value, where)
    binding = NetworkBinding(engine=record.field("engine", _engine), weights=record.field("weights", _weights))
    record.close()
    return binding


def _engine(value: Json, where: str) -> EngineRef:
    record = Record(value, where)
    tensors = mapped(pair(text, listed(_size)))
    engine = EngineRef(
        key=record.field("key", text),
        sha256=record.field("sha256", text),
        size_bytes=record.field("size_bytes", integer),
        backend=record.field("backend", text),
        fingerprint=record.field("fingerprint", text),
        precision=record.field("precision", text),
        architecture=record.field("architecture", mapped(anything)),
        inputs=record.field("inputs", tensors),
        outputs=record.field("outputs", tensors),
    )
    record.close()
    return engine


def _size(value: Json, where: str) -> Size:
    if not isinstance(value, str):
        return integer(value, where)
    try:
        return size_from_json(value)
    except ValueError:
        raise wrong(where, "a size such as 4, 'height' or 'height*8'", value) from None


def _weights(value: Json, where: str) -> WeightRef:
    record = Record(value, where)
    weights = WeightRef(
        key=record.field("key", text),
        sha256=record.field("sha256", text),
        size_bytes=record.field("size_bytes", integer),
        sources=record.field("sources", listed(pair(text, text))),
    )
    record.close()
    return weights


def _profile(value: Json, where: str) -> Profile:
    record = Record(value, where)
    profile = Profile(**{name: record.field(name, _range) for name in ("batch", "height", "width", "text")})
    record.close()
    return profile


def _range(value: Json, where: str) -> tuple[int, int]:
    low, high = pair(integer, integer)(value, where)
    if not 0 < low <= high:
        raise wrong(where, "[smallest, largest]", value)
    return low, high


def _pass(value: Json, where: str) -> PassRecord:
    record = Record(value, where)
    done = PassRecord(
        name=record.field("name", text),
        phase=record.field("phase", text),
        seconds=record.field("seconds", number),
        changes=record.field("changes", listed(pair(text, text))),
    )
    record.close()
    return done


# --- the folder -----------------------------------------------------------------------------------------------------


def _digest(path: Path) -> dict[str, Json]:
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size_bytes": path.stat().st_size}


def _verify(path: Path, expected: Json, where: str) -> None:
    record = Record(expected, where)
    wanted = {"sha256": record.field("sha256", text), "size_bytes": record.field("size_bytes", integer)}
    record.close()
    try:
        got = _digest(path)
    except OSError as error:
        raise PlanError(f"cannot read {path}: {error.strerror}", hint=HINT) from error
    if got != wanted:
        raise PlanError(f"{path} is not the file that the plan was written with", hint=HINT)


def _tensor_names(path: Path) -> list[str]:
    """Names in a safetensors file: eight bytes of length, then a JSON header."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return [name for name in header if name != "__metadata__"]


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
