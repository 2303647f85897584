"""Opens plans and runs them: what `run`, `demo`, the Python API and the parity runner share."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from graphs.errors import DeviceError, PlanError, StoreError, UsageError

if TYPE_CHECKING:
    import click

    from compiler.linking.link import Counts
    from compiler.options import CompileOptions
    from graphs.graph import Graph
    from graphs.schemas import Schemas
    from runtime.backends.backend import Progress
    from runtime.engines import Engines
    from runtime.folders import Folders
    from runtime.session import RunResult, Session

log = logging.getLogger(__name__)


@dataclass
class Opened:
    """A session with what a run of it needs: the parameters that were set and the folders. Close it, or use `with`.

    counts: what compiling had to do; None where the plan was there."""

    session: Session
    plan_dir: Path
    params: Mapping[str, Any]
    input_dir: Path
    counts: Counts | None = None

    def __enter__(self) -> Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.close()


def open_plan(
    plan_dir: Path,
    settings: Sequence[tuple[str, str]],
    models: Sequence[Path],
    input_dir: Path | None,
    engines: Engines | None = None,
    *,
    trust: bool = False,
    verify: bool = False,
) -> Opened:
    """engines: the pool to borrow from, that of the process when None. trust: a plan that was not made here, too.
    verify: hashes the engines and weights. Raises PlanError, DeviceError, StoreError."""
    from comfyc.sources import folders_of
    from runtime.plan_seal import require_own
    from runtime.session import Session
    from runtime.store import Store
    from runtime.store_settings import keep_torch_in

    store, folders = Store(), folders_of(models, input_dir)
    keep_torch_in(store.root)
    if not trust:
        require_own(plan_dir, store.root)
    session = Session.open(plan_dir, store=store, engines=engines, verify=verify)
    session.embeddings = folders.embeddings
    return Opened(session, plan_dir, dict(settings), _input_of(folders))


def refuse_compile_options(ctx: click.Context, allowed: Collection[str] = ()) -> None:
    """What a plan was compiled with cannot be changed when it runs. Raises UsageError."""
    from click.core import ParameterSource

    fixed = {"backend", "precision", "batch", "size", "targets", "freeze", "compat", "strict", "level"} - set(allowed)
    for parameter in ctx.command.params:
        given = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name in fixed:
            raise UsageError(
                f"{parameter.opts[-1]} is decided when a workflow is compiled",
                hint="compile the workflow with it: `comfyc compile WORKFLOW -o PLAN ...`, or run the workflow itself",
            )


def open_workflow(
    workflow: Path,
    settings: Sequence[tuple[str, str]],
    models: Sequence[Path],
    input_dir: Path | None,
    object_info: Path | None,
    chosen: Mapping[str, Any],
    progress: Progress | None,
    *,
    verify: bool = False,
) -> Opened:
    """Compiles a workflow unless the cache has its plan, and opens it. verify: hashes what the cached plan needs, and
    makes anew what is damaged."""
    from comfyc.building import options_of
    from comfyc.settings import applied, run_time_parameters
    from comfyc.sources import folders_of, read_graph, schemas_of

    schemas = schemas_of(object_info)
    graph = read_graph(workflow, schemas)
    options = options_of(**chosen)
    _need_a_backend_that_runs(options)
    folders = folders_of(models, input_dir)
    graph, run_time = applied(
        graph, settings, run_time_parameters(graph, options, schemas) if settings else (), schemas
    )
    plan_dir, session, counts = _cached_session(workflow, graph, options, folders, schemas, progress, verify)
    session.embeddings = folders.embeddings
    return Opened(session, plan_dir, run_time, _input_of(folders), counts)


def _need_a_backend_that_runs(options: CompileOptions) -> None:
    """Before the long work, rather than compile a plan that cannot be opened. Raises DeviceError, UsageError."""
    from runtime.backends import pick

    chosen, _ = pick(options.backend, options.device, targets=options.targets)
    state = chosen.available()
    if not state.can_run:
        raise DeviceError(state.reason, where=f"backend {chosen.name}", hint=state.hint or None)


def _cached_session(
    workflow: Path,
    graph: Graph,
    options: CompileOptions,
    folders: Folders,
    schemas: Schemas,
    progress: Progress | None,
    verify: bool,
) -> tuple[Path, Session, Counts | None]:
    from comfyc.building import compile_into
    from comfyc.plan_cache import PlanCache, plan_key
    from runtime.session import Session
    from runtime.store import Store
    from runtime.store_settings import keep_torch_in

    store = Store()
    keep_torch_in(store.root)
    cache = PlanCache(store.root)
    key = plan_key(graph, options, folders, schemas)
    if (found := cache.find(key)) is not None:
        try:
            session = Session.open(found, store=store, verify=verify)
            for warning in cache.warnings(key):
                log.warning("%s", warning)
            return found, session, None
        except (PlanError, StoreError) as error:  # its engines or weights were pruned, or a library changed
            log.info("the cached plan cannot be used (%s): compiling again", error)
            cache.remove(key)
    result = compile_into(graph, cache.path(key), options, folders, store, schemas, progress)
    said = [str(p) for p in result.warnings if p.severity == "warning" and p not in graph.warnings]
    cache.note(key, workflow, said)
    return cache.path(key), Session.open(cache.path(key), store=store), result.counts


def run_once(opened: Opened, output_dir: Path, progress: Progress | None = None) -> RunResult:
    """Runs with the parameters that were set; previews go to a folder temp beside the output folder, as in ComfyUI.

    Raises RunError, UsageError for a parameter that is not there or a value that does not fit.
    """
    return opened.session.run(
        opened.params,
        input_dir=opened.input_dir,
        output_dir=output_dir,
        temp_dir=output_dir.parent / "temp",
        progress=progress,
    )


def _input_of(folders: Folders) -> Path:
    return folders.input_dir if folders.input_dir is not None else Path("input")


def compiled(workflow: Path, plan_dir: Path, models: Sequence[Path], **chosen: Any) -> Path:
    """Compiles a workflow file into a plan folder, with options as the command line has them."""
    from comfyc.building import compile_into, options_of
    from comfyc.sources import folders_of, read_graph, schemas_of
    from runtime.store import Store

    schemas = schemas_of(None)
    graph = read_graph(workflow, schemas)
    compile_into(graph, plan_dir, options_of(**chosen), folders_of(models), Store(), schemas)
    return plan_dir
