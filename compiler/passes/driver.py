"""Runs passes one after another and verifies each result and the changes it reports. CONTRIBUTING.md: how to add one.

A pass is a function (graph, context) -> PassResult or (program, context) -> PassResult. It computes a new value and
never changes the one it was given; what it did is in the changes, one per node or step, with the reason.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from compiler.dump import graph_text, program_text
from compiler.options import CompileOptions
from compiler.passes.verify import Broken, verify_graph_step, verify_program, verify_program_step
from graphs.definition import NodeDef
from graphs.errors import PassError
from graphs.graph import Graph
from graphs.ops import OPS, OpSpec
from graphs.plan import PassRecord
from graphs.program import Program

log = logging.getLogger(__name__)

_FIRST = "before the first pass"

T = TypeVar("T", Graph, Program)

Sizes = Callable[[Program], Mapping[str, int]]  # bytes of every value, by Ref name


class Folder(Protocol):
    """Computes values at compile time. Handed in by whoever can run a program."""

    def __call__(self, program: Program, wanted: Mapping[str, str]) -> Mapping[str, str | None]:
        """Stores the values of the refs in `wanted` (Ref name -> key in constants.safetensors), every parameter at its
        default, and returns what it stored: the key, or None for a value that is None and needs no tensor."""


@dataclass(frozen=True, slots=True)
class Change:
    """node: the node or step that changed or went; reason: why, for people."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class PassResult(Generic[T]):
    """value: the graph or program after the pass; the very object that came in when there are no changes."""

    value: T
    changes: tuple[Change, ...] = ()

    @property
    def modified(self) -> bool:
        return bool(self.changes)


@dataclass(frozen=True)
class Context:
    """What passes may know besides their input. ops and sizes can be replaced, for tests and for other op sets."""

    schemas: Mapping[str, NodeDef] = field(default_factory=dict)
    options: CompileOptions = field(default_factory=CompileOptions)
    ops: Mapping[str, OpSpec] = field(default_factory=lambda: OPS)
    folder: Folder | None = None
    sizes: Sizes | None = None  # None: compiler.cost.value_sizes


class PassFunction(Protocol[T]):
    """A pass. Its name is the function's, its docstring the numbered rules."""

    __name__: str

    def __call__(self, value: T, context: Context, /) -> PassResult[T]: ...


@dataclass(frozen=True)
class Pass(Generic[T]):
    """A pass in a pipeline. required: also runs at level 0, because what comes after relies on it."""

    run: PassFunction[T]
    required: bool = False

    @property
    def name(self) -> str:
        return self.run.__name__


def run_graph_passes(
    graph: Graph, passes: Iterable[Pass[Graph]], context: Context, dump: Path | None = None
) -> tuple[Graph, tuple[PassRecord, ...]]:
    """The graph after all passes, and what each did. dump: folder for a text of the graph after every pass.

    Raises: PassError naming the pass that broke an invariant.
    """
    records: list[PassRecord] = []
    for stage in passes:
        before = graph
        graph, record = _run("graph", stage, graph, context, records)
        _expect(_where(stage.name, records), verify_graph_step(before, graph, context.schemas))
        records.append(record)
        if dump is not None:
            _dump(dump, len(records), record, graph_text(graph))
    return graph, tuple(records)


def run_program_passes(
    program: Program, passes: Iterable[Pass[Program]], context: Context, dump: Path | None = None
) -> tuple[Program, tuple[PassRecord, ...]]:
    """As run_graph_passes, on a program."""
    _expect(_FIRST, verify_program(program, context.ops), "this is a bug of the lowering of a node")
    records: list[PassRecord] = []
    for stage in passes:
        before = program
        program, record = _run("program", stage, program, context, records)
        _expect(_where(stage.name, records), verify_program_step(before, program, context.ops))
        records.append(record)
        if dump is not None:
            _dump(dump, len(records), record, program_text(program))
    return program, tuple(records)


def _run(phase: str, stage: Pass[T], value: T, context: Context, earlier: list[PassRecord]) -> tuple[T, PassRecord]:
    started = time.perf_counter()
    try:
        result = stage.run(value, context)
    except Exception as error:
        error.add_note(f"in {_where(stage.name, earlier)}")
        raise
    seconds = time.perf_counter() - started
    if result.modified == (result.value is value):
        claim = "lists changes but returns its input" if result.modified else "changed its input without saying so"
        raise PassError(f"the pass {claim}", where=_where(stage.name, earlier), hint="this is a bug of the pass")
    changes = tuple((change.node, change.reason) for change in result.changes)
    log.info("%s pass %s: %d changes in %.1f ms", phase, stage.name, len(changes), seconds * 1e3)
    for node, reason in changes:
        log.debug("%s: %s: %s", stage.name, node, reason)
    return result.value, PassRecord(stage.name, phase, seconds, changes)


def _where(name: str, earlier: list[PassRecord]) -> str:
    after = ", ".join(record.name for record in earlier)
    return f"pass '{name}' (after {after})" if after else f"pass '{name}' (the first)"


def _expect(where: str, broken: Iterable[Broken], hint: str = "this is a bug of the pass") -> None:
    found = list(broken)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PassError(f"{found[0]}{more}", where=where, hint=hint)


def _dump(folder: Path, number: int, record: PassRecord, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = "".join(f"# {node}: {reason}\n" for node, reason in record.changes)
    (folder / f"{record.phase}_{number:02}_{record.name}.txt").write_text(head + text, "utf-8")
