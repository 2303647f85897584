"""From a workflow to a plan folder: the compiler's library calls, in the order that every command needs them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from comfyc.parameter_types import Size
from graphs.errors import UsageError

if TYPE_CHECKING:
    from compiler.compile import CompileResult
    from compiler.options import CompileOptions
    from graphs.graph import Graph
    from graphs.schemas import Schemas
    from runtime.backends.backend import Progress
    from runtime.folders import Folders
    from runtime.store import Store

log = logging.getLogger(__name__)


def options_of(
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    batch: tuple[int, int] | None = None,
    size: Size | None = None,
    targets: Sequence[str] | None = None,
    freeze: Sequence[str] = (),
    compat: str | None = None,
    strict: bool = False,
    level: int = 1,
) -> CompileOptions:
    """A CompileOptions of what a command line says. Raises UsageError for what cannot go together."""
    from dataclasses import replace

    from compiler.options import CompileOptions
    from graphs.plan import COMPATS, Profile

    if targets and backend not in ("auto", "tensorrt"):
        raise UsageError("--target is for GPU engines", expected="--backend tensorrt", got=f"--backend {backend}")
    fixed: list[str] = []
    profile = Profile()
    if batch is not None:
        profile, fixed = replace(profile, batch=batch), [*fixed, "batch"]
    if size is not None:
        profile, fixed = replace(profile, width=size.width, height=size.height), [*fixed, "width", "height"]
    return CompileOptions(
        backend=backend,
        device=device,
        precision=precision,
        profile=profile,
        targets=tuple(targets or ()),
        freeze=tuple(freeze),
        compat=compat or COMPATS[0],
        strict=strict,
        fixed_sides=tuple(fixed),
        level=level,
    )


def compile_into(
    graph: Graph,
    plan_dir: Path,
    options: CompileOptions,
    folders: Folders,
    store: Store,
    schemas: Schemas,
    progress: Progress | None = None,
    dump: Path | None = None,
) -> CompileResult:
    """Compiles and writes the plan folder, which appears whole or not at all. Raises what the compiler raises.

    dump: a folder for a text of the graph, then of the program, after each pass.
    What the check was lenient about goes to the log, besides what reading the workflow has said already.
    """
    from compiler.compile import compile_workflow, write
    from runtime.store_settings import keep_torch_in

    keep_torch_in(store.root)
    if dump is not None:
        _empty(dump)
    result = compile_workflow(
        graph, options, folders=folders, store=store, schemas=schemas, progress=progress, dump=dump
    )
    for problem in result.warnings:
        if problem not in graph.warnings:
            log.log(logging.WARNING if problem.severity == "warning" else logging.INFO, "%s", problem)
    log.info("%s", result.why_backend)
    write(result, plan_dir, store.root)
    return result


def _empty(folder: Path) -> None:
    """Removes the dumps of an earlier compile. Raises UsageError for a folder that cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in (*folder.glob("graph_*.txt"), *folder.glob("program_*.txt")):
            file.unlink()
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(folder), hint="choose another") from error


def writable_plan_dir(path: Path) -> Path:
    """Where -o points. Raises UsageError, before the long work, rather than replace something that is not a plan."""
    if path.is_file():
        raise UsageError("is a file; a plan is a folder", where=str(path), hint="choose another name with -o")
    if path.is_dir() and any(path.iterdir()) and not (path / "plan.json").is_file():
        raise UsageError("is a folder with other things in it", where=str(path), hint="choose another name with -o")
    return path
