"""Opens a plan and runs it: the only thing that a front door needs of the runtime."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from graphs.errors import DeviceError, RunError
from graphs.ops import OPS
from graphs.plan import Plan
from graphs.plan_json import CONSTANTS_FILE, load_plan
from graphs.program import Parameter, Program, Step
from runtime.artifacts import verify_files
from runtime.constants import MappedConstants
from runtime.context import Interrupted, OpContext
from runtime.engines import Artifacts, Engines, Leases
from runtime.executor import execute, select
from runtime.limits import check_inputs
from runtime.memory import peak_rss_bytes
from runtime.metadata import updated_prompt, updated_workflow
from runtime.ops import op_function
from runtime.pools import pool
from runtime.preflight import preflight
from runtime.run_parameters import changed, resolve
from runtime.sampling.batching import alone
from runtime.store import Store
from runtime.turns import OpenRuns
from runtime.values import SavedFile

if TYPE_CHECKING:
    from runtime.backends.backend import Backend, Progress
    from runtime.sampling.batching import Calls
    from runtime.sampling.driver import Observe

log = logging.getLogger(__name__)

Json = Any
TEXT_OP = "encode_text"
OnStep = Callable[[Step], None]


@dataclass(frozen=True)
class RunResult:
    """files: what output nodes wrote, in order. step_ms: milliseconds by step id, loading of engines included.

    seconds: by phase: "load" (engines, in this run) and "run" (everything else). params: the value of every parameter.
    peak_rss_bytes: of the process so far; None where the system does not say.
    """

    files: tuple[SavedFile, ...]
    step_ms: Mapping[str, float]
    seconds: Mapping[str, float]
    params: Mapping[str, Json]
    peak_rss_bytes: int | None


@dataclass(eq=False)
class Session:
    """An open plan, of a folder (Session.open) or of memory (the constructor), and the pool that it borrows from.

    constants: what steps folded at compile time read, on the pool's device. Engines are loaded by the first run that
    needs them. Any thread may call run and close. Runs of several threads go side by side, or wait for each other where
    an engine takes one caller at a time; runs that one thread drives together do not wait. close waits for the runs of
    other threads.
    The constructor raises PlanError, DeviceError.
    """

    plan: Plan
    constants: Mapping[str, torch.Tensor]
    engines: Engines
    open_s: float = 0.0
    embeddings: Callable[[], Mapping[str, Path]] = dict  # where textual inversions are, by name: asked for at each text
    _runs: OpenRuns = field(default_factory=OpenRuns)

    def __post_init__(self) -> None:
        if self.engines.device.partition(":")[0] != self.plan.device:
            raise DeviceError("the plan is for another device", expected=self.plan.device, got=self.engines.device)
        self._used = {
            name: self.plan.bindings[name] for step in self.plan.program.steps for name in step.networks.values()
        }
        self.engines.enter(self._used)
        self._device = torch.device(self.engines.device)

    @classmethod
    def open(
        cls,
        plan_dir: str | Path,
        *,
        store: Store | None = None,
        artifacts: Artifacts | None = None,
        backend: Callable[[str], Backend] | None = None,
        device: str | None = None,
        threads: int = 0,
        engines: Engines | None = None,
        verify: bool = False,
    ) -> Session:
        """Reads and verifies a plan folder and checks that its engines can run here; loads none yet.

        store: where engines and weights are, the user's own when None. artifacts, backend: other sources of them.
        device: which one of the plan's kind ("cuda:1"), the first when None. threads: of the networks, 0 is the
        library's default. engines: a pool to borrow from, in place of all of these; without it the sessions of a
        process share one for each device. verify: hashes the engines and weights in the store. Raises PlanError,
        DeviceError, StoreError.
        """
        started = time.perf_counter()
        plan = load_plan(Path(plan_dir))
        if verify:
            verify_files(plan, store if store is not None else Store())
        if engines is None:
            engines = pool(store, artifacts, backend, device or plan.device, threads)
        path = Path(plan_dir) / CONSTANTS_FILE
        constants = MappedConstants(path, engines.device) if path.is_file() else {}
        session = cls(plan, constants, engines)
        session.open_s = time.perf_counter() - started
        return session

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return self.plan.program.parameters

    def run(
        self,
        params: Mapping[str, Json] | None = None,
        *,
        input_dir: str | Path = "input",
        output_dir: str | Path = "output",
        temp_dir: str | Path | None = None,
        progress: Progress | None = None,
        on_step: OnStep | None = None,
        cancel: threading.Event | None = None,
        observe: Observe | None = None,
    ) -> RunResult:
        """One run, alone: see start."""
        options: dict[str, Any] = {"input_dir": input_dir, "output_dir": output_dir, "temp_dir": temp_dir}
        return alone(
            self.start(params, **options, progress=progress, on_step=on_step, cancel=cancel, observe=observe)
        )

    def start(
        self,
        params: Mapping[str, Json] | None = None,
        *,
        input_dir: str | Path = "input",
        output_dir: str | Path = "output",
        temp_dir: str | Path | None = None,
        progress: Progress | None = None,
        on_step: OnStep | None = None,
        cancel: threading.Event | None = None,
        observe: Observe | None = None,
    ) -> Calls[RunResult]:
        """A run that someone else drives, alone or together with others (runtime.sampling.batching).

        params: by name ("3.seed"), those left out have the workflow's value.

        temp_dir: where previews go, a folder of the system's temporary one when None. on_step: called before each
        step that runs. progress: called with (what, done, total) within long steps; False from it, or cancel once
        set, ends the run with Interrupted before its next step or sampling step. observe: sees each evaluation of a
        sampling loop, for previews.
        Raises UsageError for wrong params, RunError, PlanError, Interrupted.
        """
        values = resolve(self.plan, params or {})
        temp = Path(tempfile.gettempdir()) / "comfyc" if temp_dir is None else Path(temp_dir)
        with self._runs.counted() as may_run, self.engines.turn(self._used.values()):
            if not may_run:
                raise RunError("the session is closed", hint="open the plan again")
            with Leases(self.engines, self._used) as leases:
                folders = (Path(input_dir), Path(output_dir), temp)
                run = _Run(self, leases, values, folders, progress, on_step, cancel, observe)
                return (yield from run.result())

    def close(self) -> None:
        """Frees the engines that no other open plan has and no run uses. Later runs raise RunError; closing again does
        nothing."""
        if self._runs.close():
            self.engines.leave(self._used)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Run:
    """The state that the steps of one run share."""

    def __init__(
        self,
        session: Session,
        leases: Leases,
        values: Mapping[str, Json],
        folders: tuple[Path, Path, Path],
        progress: Progress | None,
        on_step: OnStep | None,
        cancel: threading.Event | None,
        observe: Observe | None,
    ) -> None:
        plan = session.plan
        self._session, self._values, self._folders = session, values, folders
        self._progress, self._on_step, self._cancel, self._observe = progress, on_step, cancel, observe
        self._leases = leases
        self._unneeded: tuple[str, ...] = ()  # networks that no later step calls
        self._changed = changed(plan, values)
        self._prompt = updated_prompt(plan.prompt, self._changed)
        self._workflow = updated_workflow(plan.workflow, plan.prompt, self._changed)

    def result(self) -> Calls[RunResult]:
        session, leases, started = self._session, self._leases, time.perf_counter()
        program = session.plan.program
        kept = _written(program)
        instructions = select(program, changed=self._changed, keep=kept)
        input_dir, output_dir, temp_dir = self._folders
        steps = (instruction.step for instruction in instructions if not instruction.folded)
        preflight(steps, self._values, input_dir=input_dir, output_dir=output_dir, temp_dir=temp_dir)
        outcome = yield from execute(
            instructions,
            op=op_function,
            context=self._context,
            params=self._values,
            constants=session.constants,
            keep=kept,
            check=lambda step, inputs: check_inputs(session.plan.profile, step, inputs),
        )
        return RunResult(
            files=tuple(file for name in kept for file in outcome.values[name]),
            step_ms=outcome.step_ms,
            seconds={"load": leases.load_s, "run": time.perf_counter() - started - leases.load_s},
            params=dict(self._values),
            peak_rss_bytes=peak_rss_bytes(),
        )

    def _context(self, step: Step) -> OpContext:
        session, plan = self._session, self._session.plan
        self._leases.release(self._unneeded)
        self._unneeded = step.releases
        input_dir, output_dir, temp_dir = self._folders
        node = step.nodes[0] if step.nodes else step.id

        def report(done: int, total: int) -> None:
            go_on = self._progress is None or self._progress(f"{step.op} (node {node})", done, total)
            if not go_on or (self._cancel is not None and self._cancel.is_set()):
                raise Interrupted(f"interrupted in step {step.id}")

        if self._cancel is not None and self._cancel.is_set():
            raise Interrupted(f"interrupted before step {step.id}")
        if self._on_step is not None:
            self._on_step(step)
        return OpContext(
            attrs=step.attrs,
            module=lambda role: self._leases.module(step.networks[role]),
            device=session._device,
            compat=plan.compat,
            node=node,
            progress=report,
            input_dir=input_dir,
            output_dir=output_dir,
            temp_dir=temp_dir,
            embeddings=session.embeddings() if step.op == TEXT_OP else {},
            compiled_embeddings=plan.embeddings,
            prompt=self._prompt,
            workflow=self._workflow,
            model=plan.program.facts_of(step),
            observe=self._observe,
        )


def _written(program: Program) -> tuple[str, ...]:
    """Names of the values that are lists of written files."""
    return tuple(
        name
        for step in program.steps
        for name, kind in zip(step.outputs, OPS[step.op].outputs, strict=True)
        if kind == "files"
    )
