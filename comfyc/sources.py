"""What a command line names, opened: workflow files, node schemas, model folders, plan folders."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graphs.errors import UsageError, WorkflowError

if TYPE_CHECKING:
    from graphs.graph import Graph
    from graphs.schemas import Schemas
    from runtime.folders import Folders

log = logging.getLogger(__name__)

WORKFLOW_SUFFIXES = (".json", ".png", ".webp")


def checked_file(path: Path, what: str, suffixes: tuple[str, ...] = ()) -> Path:
    """The path, if it is a readable file of such a suffix. Raises UsageError saying which of these it is not."""
    if not path.exists():
        near = _near(path)
        raise UsageError(f"there is no such {what}", where=str(path), hint=f"did you mean {near}?" if near else None)
    if path.is_dir():
        raise UsageError(f"is a folder, not a {what}", where=str(path), hint=f"name the {what} file itself")
    if not os.access(path, os.R_OK):
        raise UsageError("may not be read", where=str(path), hint="check the permissions of the file")
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(
            f"does not look like a {what}", where=str(path), expected=" ".join(suffixes), got=path.suffix or "no suffix"
        )
    return path


def _near(path: Path) -> str | None:
    import difflib

    if not path.parent.is_dir():
        return None
    names = [p.name for p in path.parent.iterdir() if p.suffix.lower() in WORKFLOW_SUFFIXES or p.is_dir()]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return str(path.parent / close[0]) if close else None


def schemas_of(object_info: Path | None) -> Schemas:
    """The schemas that ship, plus those of a server's /object_info dump."""
    from graphs.schemas import builtin

    schemas = builtin()
    if object_info is None:
        return schemas
    checked_file(object_info, "/object_info dump", (".json",))
    try:
        dump = json.loads(object_info.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(
            f"is not JSON: {error}", where=str(object_info), hint="save the answer of http://HOST:8188/object_info"
        ) from error
    try:
        return schemas.with_object_info(dump)
    except WorkflowError as error:
        raise UsageError(str(error), where=str(object_info)) from error


def read_graph(path: Path, schemas: Schemas) -> Graph:
    """Reads a workflow file; its warnings go to the log. Raises UsageError, WorkflowError."""
    from graphs.workflow import read_workflow

    graph = read_workflow(checked_file(path, "workflow", WORKFLOW_SUFFIXES), schemas)
    for problem in graph.warnings:
        log.log(logging.WARNING if problem.severity == "warning" else logging.INFO, "%s", problem)
    return graph


def folders_of(models: Sequence[Path], input_dir: Path | None = None) -> Folders:
    """The folders that --models names, else the default ones. --input wins over a ComfyUI's input folder."""
    from dataclasses import replace

    from runtime.folders import Folders

    if models:
        return Folders.of(models, input_dir=input_dir)
    default = Folders.default()
    return default if input_dir is None else replace(default, input_dir=input_dir)


def plan_folder(path: Path) -> Path | None:
    """The plan folder that a path means (the folder or its plan.json), or None when it is no plan.

    Raises UsageError for a folder that is no plan.
    """
    if path.name == "plan.json" and path.is_file():
        return path.parent
    if not path.is_dir():
        return None
    if not (path / "plan.json").is_file():
        raise UsageError(
            "this folder is not a plan",
            where=str(path),
            expected="a folder with a plan.json",
            hint="make one with `comfyc compile WORKFLOW -o PLAN`",
        )
    return path


def listing(folders: Folders) -> Mapping[str, tuple[str, ...]] | None:
    """The files by kind, in the form that `check` wants; None when there are no model folders to check against."""
    return folders.files if folders.roots else None
