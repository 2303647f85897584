"""How far does a reader have to jump to follow the default workflow through the compiler?

    python -m benchmarks.bench_hops

For each phase: calls of our functions, files they lie in, crossings (calls into another file). And the walk of somebody
who reads each function once, in the order of first calls, and comes back to the caller's file after each: every file
they are in for a while is a stay. No model files, no engine: up to the passes over the program. Prints a table and
writes results/hops.json; the rows "before" there are of commit d9e78cc, measured by the same walk.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from compiler.checking.check import check
from compiler.lowering.lower import lower
from compiler.passes.driver import Context
from compiler.pipeline import optimise_graph, optimise_program
from graphs.schemas import builtin
from graphs.workflow import read_workflow

Json = Any
Event = tuple[str, str, str]  # "call" or "return", file, function

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / "graphs/examples/default.json"
RESULTS = Path(__file__).parent / "results" / "hops.json"


@contextmanager
def recorded(events: list[Event]) -> Iterator[None]:
    """Calls and returns of functions of this repository."""
    root = f"{ROOT}/"

    def profile(frame: FrameType, event: str, arg: object) -> None:
        file = frame.f_code.co_filename
        if event in ("call", "return") and file.startswith(root) and file != __file__ and "/site-packages/" not in file:
            events.append((event, file.removeprefix(root), frame.f_code.co_qualname))

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def counts(events: list[Event]) -> dict[str, int]:
    stack: list[str] = []
    calls = crossings = 0
    for event, file, _ in events:
        if event == "return":
            if stack:
                stack.pop()
            continue
        calls += 1
        crossings += bool(stack) and stack[-1] != file
        stack.append(file)
    return {"calls": calls, "files": len({file for _, file, _ in events}), "crossings": crossings}


def stays(events: list[Event]) -> list[str]:
    """The files a reader is in, in turn: each function is read once, where it is first called."""
    read: set[tuple[str, str]] = set()
    stack: list[tuple[str, bool]] = []  # file, and whether its function is being read
    walk: list[str] = []
    for event, file, function in events:
        if event == "call":
            is_new = (file, function) not in read
            read.add((file, function))
            stack.append((file, is_new))
            if is_new:
                walk.append(file)
        elif stack:
            stack.pop()
            if stack and stack[-1][1]:
                walk.append(stack[-1][0])
    return _merged(walk)


def _merged(walk: list[str]) -> list[str]:
    return [file for number, file in enumerate(walk) if number == 0 or walk[number - 1] != file]


def main() -> dict[str, Json]:
    schemas = builtin()
    read_workflow(WORKFLOW, schemas)  # what is read once per process is not part of the walk
    context = Context(schemas=schemas)
    values: dict[str, Any] = {}
    phases: dict[str, dict[str, Any]] = {}
    steps: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("read", lambda: read_workflow(WORKFLOW, schemas)),
        ("check", lambda: check(values["read"], schemas).runnable),
        ("graph passes", lambda: optimise_graph(values["check"], context)[0]),
        ("lower", lambda: lower(values["graph passes"])),
        ("program passes", lambda: optimise_program(values["lower"], context)[0]),
    )
    for name, step in steps:
        events: list[Event] = []
        with recorded(events):
            values[name] = step()
        phases[name] = {**counts(events), "stays": len(stays(events)), "walk": stays(events)}
    checking = [file for file in phases["check"]["walk"] if file.startswith("compiler/checking/")]
    return {
        "workflow": WORKFLOW.name,
        "phases": phases,
        "stays_in_checking": len(checking),
        "moves_between_files_of_checking": len(_merged(checking)) - 1,
    }


def report(rows: dict[str, Json]) -> None:
    print(f"{'phase':16} {'calls':>6} {'files':>6} {'crossings':>10} {'stays':>6}")
    for name, row in rows["phases"].items():
        print(f"{name:16} {row['calls']:6} {row['files']:6} {row['crossings']:10} {row['stays']:6}")
    moves = rows["moves_between_files_of_checking"]
    print(f"stays in compiler/checking: {rows['stays_in_checking']}, moves between its files: {moves}")


if __name__ == "__main__":
    known = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    after = main()
    report(after)
    RESULTS.write_text(json.dumps({**known, "after": after}, indent=1) + "\n", "utf-8")
    print(f"written to {RESULTS}")
