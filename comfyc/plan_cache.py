"""Plans of workflows that were run directly, by content: a second run of the same workflow compiles nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyc import __version__

if TYPE_CHECKING:
    from compiler.options import CompileOptions
    from graphs.definition import NodeDef
    from graphs.graph import Graph
    from runtime.folders import Folders

log = logging.getLogger(__name__)

Json = Any
NOTE = "made_from.json"


def plan_key(graph: Graph, options: CompileOptions, folders: Folders, schemas: Mapping[str, NodeDef]) -> str:
    """A name for everything that decides a plan: the nodes, the options, the model files, this comfyc.

    Model files count by path, size, inode and times of change, so that making the key reads none of them.
    """
    from graphs.workflow import to_api

    parts: dict[str, Json] = {
        "comfyc": __version__,
        "prompt": to_api(graph),
        "workflow": graph.workflow,
        "options": asdict(options),
        "models": _model_files(graph, folders, schemas),
    }
    texts = [v for node in graph for v in node.widgets.values() if isinstance(v, str) and "embedding:" in v]
    if texts:
        from runtime.text.embeddings import find_embedding, mentioned

        there = folders.embeddings()
        named = {name: find_embedding(name, there) for name in mentioned(texts, there)}
        parts["embeddings"] = {name: _identity(path) for name, path in named.items() if path is not None}
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _model_files(graph: Graph, folders: Folders, schemas: Mapping[str, NodeDef]) -> dict[str, Json]:
    """What each model-file widget means here. A missing file is left to the compiler, which says where it looked."""
    from graphs.errors import ModelMissingError

    found: dict[str, Json] = {}
    for node in graph:
        if node.class_type not in schemas:
            continue
        for declared in schemas[node.class_type].inputs:
            value = node.widgets.get(declared.name)
            if declared.folder in (None, "input") or not isinstance(value, str):
                continue
            try:
                found[f"{node.id}.{declared.name}"] = _identity(folders.find(str(declared.folder), value))
            except (ModelMissingError, OSError):
                found[f"{node.id}.{declared.name}"] = None
    return found


def _identity(path: Path) -> tuple[str | int, ...]:
    """What changes with a file, kept times included: cp -p, rsync -t and tar set st_mtime, none can set st_ctime."""
    stat = path.stat()
    return str(path.resolve()), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


@dataclass(frozen=True)
class CachedPlan:
    """A plan folder in the cache. workflow: the file it was made from; used: seconds since the epoch."""

    path: Path
    workflow: str
    used: float


class PlanCache:
    """Folders ROOT/plans/KEY, each a plan and a note of what it was made from."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "plans"

    def path(self, key: str) -> Path:
        return self.folder / key

    def find(self, key: str) -> Path | None:
        """The plan folder of a key, marked as used now; None when there is none."""
        folder = self.path(key)
        if not (folder / "plan.json").is_file():
            return None
        with contextlib.suppress(OSError):  # a cache that may only be read serves as well
            os.utime(folder)
        return folder

    def note(self, key: str, workflow: Path, warnings: Iterable[str] = ()) -> None:
        """Writes down which file a plan was made from, for `comfyc cache ls`, and what was said about it."""
        note = {"workflow": str(workflow), "warnings": list(warnings)}
        (self.path(key) / NOTE).write_text(json.dumps(note), encoding="utf-8")

    def warnings(self, key: str) -> tuple[str, ...]:
        """The warnings about the workflow when it was compiled: they hold for every run of the plan."""
        return tuple(str(warning) for warning in _note(self.path(key)).get("warnings", ()))

    def remove(self, key: str) -> None:
        shutil.rmtree(self.path(key), ignore_errors=True)

    def ls(self) -> tuple[CachedPlan, ...]:
        """Least recently used first."""
        found = []
        for file in self.folder.glob("*/plan.json"):
            workflow = str(_note(file.parent).get("workflow", "?"))
            found.append(CachedPlan(file.parent, workflow, file.parent.stat().st_mtime))
        return tuple(sorted(found, key=lambda p: p.used))

    def prune(self, store_keys: Collection[str] | None) -> int:
        """Removes the plans that need a store entry which is not among store_keys, and what is no plan; None: every
        plan. Says how many."""
        gone = 0
        for plan in self.ls():
            needs = _needs(plan.path) if store_keys is not None else None
            if store_keys is None or needs is None or not needs <= set(store_keys):
                shutil.rmtree(plan.path, ignore_errors=True)
                gone += 1
        return gone


def _note(plan_dir: Path) -> dict[str, Json]:
    try:
        note = json.loads((plan_dir / NOTE).read_text("utf-8"))
    except (OSError, ValueError):  # killed between the plan and its note
        return {}
    return note if isinstance(note, dict) else {}


def _needs(plan_dir: Path) -> set[str] | None:
    """The store keys of a plan's engines and weights; None where plan.json is no plan."""
    try:
        bindings = json.loads((plan_dir / "plan.json").read_text("utf-8"))["bindings"].values()
        files = [file for each in bindings for file in (each["engine"], *each["weights"]["layers"])]
        return {str(file["key"]) for file in files}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
