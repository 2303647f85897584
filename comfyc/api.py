"""The public Python API: `comfyc.compile`, `comfyc.load`, `comfyc.Workflow`.

plan = comfyc.compile("workflow.json", "my.plan", models=["~/ComfyUI"])
with comfyc.load(plan) as session:
    files = session.run({"6.text": "a lighthouse"}, output_dir="output").files
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphs.errors import Problem

if TYPE_CHECKING:
    from comfyc.parameter_types import Size
    from graphs.graph import Graph
    from graphs.schemas import Schemas
    from runtime.backends.backend import Progress
    from runtime.session import Session

PathText = str | PathLike[str]


@dataclass(frozen=True)
class Workflow:
    """A workflow as read from a file: UI or API JSON, or a PNG or WebP picture that carries one."""

    graph: Graph
    schemas: Schemas
    path: Path | None = None

    @classmethod
    def read(cls, path: PathText, *, object_info: PathText | None = None) -> Workflow:
        """Raises UsageError (no such file), WorkflowError with every problem."""
        from comfyc.sources import read_graph, schemas_of

        file, schemas = Path(path), schemas_of(Path(object_info) if object_info else None)
        return cls(read_graph(file, schemas), schemas, file)

    def check(self, *, models: Sequence[PathText] = (), strict: bool = False) -> tuple[Problem, ...]:
        """Every problem, warnings included; without one of severity "error" it can be compiled."""
        from comfyc.sources import folders_of, listing
        from compiler.checking.check import check

        files = listing(folders_of([Path(m) for m in models]))
        return check(self.graph, self.schemas, files, strict=strict).problems

    def to_api(self) -> Mapping[str, Any]:
        """The API ("prompt") JSON."""
        from graphs.workflow import to_api

        return to_api(self.graph)


def compile(
    workflow: Workflow | PathText,
    output: PathText,
    *,
    models: Sequence[PathText] = (),
    backend: str = "auto",
    precision: str = "auto",
    batch: tuple[int, int] | None = None,
    size: str | None = None,
    freeze: Sequence[str] = (),
    targets: Sequence[str] = (),
    compat: str | None = None,
    strict: bool = False,
    level: int = 1,
    dump_passes: PathText | None = None,
    progress: Progress | None = None,
) -> Path:
    """Compiles a workflow into a plan folder and returns it.

    batch: (least, most). size: as --size has it ("512..1024", "512x768"). models: as --models has it; none: the
    default folders. strict: no output is left out. level: 0 leaves out every pass that is not needed to run.
    dump_passes: a folder for a text of what each pass made. Raises a ComfycError (see graphs.errors).
    """
    from comfyc.building import compile_into, options_of, writable_plan_dir
    from comfyc.sources import folders_of
    from runtime.store import Store

    source = workflow if isinstance(workflow, Workflow) else Workflow.read(workflow)
    chosen = options_of(
        backend=backend,
        precision=precision,
        batch=batch,
        size=_size(size) if size is not None else None,
        targets=targets,
        freeze=freeze,
        compat=compat,
        strict=strict,
        level=level,
    )
    plan_dir = writable_plan_dir(Path(output))
    folders, dump = folders_of([Path(m) for m in models]), Path(dump_passes) if dump_passes is not None else None
    compile_into(source.graph, plan_dir, chosen, folders, Store(), source.schemas, progress, dump)
    return plan_dir


def load(
    plan: PathText, *, models: Sequence[PathText] = (), trust: bool = False, verify_weights: bool = False
) -> Session:
    """Opens a plan folder. Close the session, or use it in a `with`. Raises PlanError, DeviceError.

    models: as --models has it, where the textual inversions that prompts name are looked for. trust: whether a plan may
    have been made elsewhere, with engines that are code. verify_weights: hashes the files that the plan needs.
    """
    from comfyc.sources import folders_of, plan_folder
    from graphs.errors import UsageError
    from runtime.plan_seal import require_own
    from runtime.session import Session
    from runtime.store import Store
    from runtime.store_settings import keep_torch_in

    folder = plan_folder(Path(plan))
    if folder is None:
        raise UsageError("there is no such plan", where=str(plan), hint="make one with comfyc.compile(...)")
    store = Store()
    keep_torch_in(store.root)
    if not trust:
        require_own(folder, store.root)
    session = Session.open(folder, store=store, verify=verify_weights)
    session.embeddings = folders_of([Path(m) for m in models]).embeddings
    return session


def _size(text: str) -> Size:
    import click

    from comfyc.parameter_types import SizeType
    from graphs.errors import UsageError

    try:
        return SizeType().convert(text, None, None)
    except click.BadParameter as error:
        raise UsageError(error.message, where="size") from error
