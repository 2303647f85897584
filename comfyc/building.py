"""From a workflow to a plan folder: the compiler's library calls, in the order that every command needs them."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from comfyc.parameter_types import Size
from graphs.errors import StoreError, UsageError

if TYPE_CHECKING:
    from compiler.compile import CompileResult
    from compiler.options import CompileOptions
    from graphs.graph import Graph
    from runtime.backends.backend import Progress
    from runtime.folders import Folders
    from runtime.store import Store

log = logging.getLogger(__name__)


def options_of(
    *,
    backend: str = "auto",
    precision: str = "auto",
    batch: tuple[int, int] | None = None,
    size: Size | None = None,
    targets: Sequence[str] | None = None,
    freeze: Sequence[str] = (),
    compat: str | None = None,
) -> CompileOptions:
    """A CompileOptions of what a command line says. Raises UsageError for what cannot go together."""
    from dataclasses import replace

    from compiler.options import COMPATS, CompileOptions
    from graphs.plan import Profile

    if targets and backend != "tensorrt":
        raise UsageError("--target is for GPU engines", expected="--backend tensorrt", got=f"--backend {backend}")
    profile = Profile()
    if batch is not None:
        profile = replace(profile, batch=batch)
    if size is not None:
        profile = replace(profile, width=size.width, height=size.height)
    return CompileOptions(
        backend=backend,
        precision=precision,
        profile=profile,
        targets=tuple(targets or ()),
        freeze=tuple(freeze),
        compat=compat or COMPATS[0],
    )


def compile_into(
    graph: Graph,
    plan_dir: Path,
    options: CompileOptions,
    folders: Folders,
    store: Store,
    progress: Progress | None = None,
) -> CompileResult:
    """Compiles and writes the plan folder; the folder appears whole or not at all.

    Raises what the compiler raises; StoreError when the folder cannot be written.
    """
    from compiler.compile import compile_workflow, write

    result = compile_workflow(graph, options, folders=folders, store=store, progress=progress)
    try:
        plan_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{plan_dir.name}.", dir=plan_dir.parent) as scratch:
            fresh = Path(scratch) / "plan"
            write(result, fresh)
            _put_in_place(fresh, plan_dir, Path(scratch) / "old")
    except OSError as error:
        hint = "make room on the disk or choose another place with -o"
        raise StoreError(f"the plan cannot be written: {error.strerror}", where=str(plan_dir), hint=hint) from error
    return result


def _put_in_place(fresh: Path, plan_dir: Path, aside: Path) -> None:
    """Renames, so that nobody sees half a plan; of two that race, one wins and both are right."""
    if plan_dir.exists():
        os.rename(plan_dir, aside)
    try:
        os.rename(fresh, plan_dir)
    except OSError:
        if not (plan_dir / "plan.json").is_file():
            raise
        log.info("another process wrote %s first", plan_dir)
    shutil.rmtree(aside, ignore_errors=True)


def writable_plan_dir(path: Path) -> Path:
    """Where -o points. Raises UsageError rather than replace something that is not a plan."""
    if path.is_file():
        raise UsageError("is a file; a plan is a folder", where=str(path), hint="choose another name with -o")
    if path.is_dir() and any(path.iterdir()) and not (path / "plan.json").is_file():
        raise UsageError("is a folder with other things in it", where=str(path), hint="choose another name with -o")
    return path


def frozen_names(freeze: Iterable[str], known: Iterable[str]) -> None:
    """Raises UsageError when --freeze names no parameter."""
    import difflib

    names = list(known)
    for name in freeze:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3)
            raise UsageError(
                f"--freeze {name}: the workflow has no such parameter",
                expected=", ".join(near or names[:10]) or "none",
                hint="`comfyc explain` lists the parameters",
            )
