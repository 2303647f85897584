"""How long does planning take in a process that has planned before?

    python -m benchmarks.bench_plan

One core, the default workflow with a small checkpoint that is made for it, in the API form, each time with another
text, without folding: from the JSON text to a plan, and from there to a Session in memory. Cold is the first call over
a filled store. Prints a table, with what each call had to do, and writes results/plan.json.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.synthetic import write_checkpoint
from compiler.compile import CompileResult, compile_workflow
from compiler.linking.known import Known
from compiler.options import CompileOptions
from graphs.examples import example
from graphs.schemas import builtin
from graphs.workflow import parse_api
from runtime.artifacts import StoreArtifacts
from runtime.engines import Engines
from runtime.folders import Folders
from runtime.session import Session
from runtime.store import Store

Json = Any

RUNS = 100
CHECKPOINT = "small.safetensors"
RESULTS = Path(__file__).parent / "results" / "plan.json"


class Process:
    """All that a process keeps between prompts."""

    def __init__(self, root: Path) -> None:
        self.folders = Folders.of([root / "models"])
        self.store = Store(root / "store")
        self.engines = Engines(StoreArtifacts(self.store), keep=True)
        self.known, self.schemas = Known(), builtin()
        self.options = CompileOptions(backend="onnxruntime", fold=False)

    def plan(self, text: str) -> CompileResult:
        prompt: Json = json.loads(example("default", api=True).read_text("utf-8"))
        prompt["4"]["inputs"]["ckpt_name"] = CHECKPOINT
        prompt["6"]["inputs"]["text"] = text
        return compile_workflow(
            parse_api(prompt), self.options, folders=self.folders, store=self.store, schemas=self.schemas,
            engines=self.engines, known=self.known,
        )  # fmt: skip


@contextmanager
def counted_walks(counts: dict[str, int]) -> Iterator[None]:
    """Counts the directories that are read."""
    read = os.scandir

    def scandir(*args: Any) -> Any:
        counts["walks"] = counts.get("walks", 0) + 1
        return read(*args)

    with patch.object(os, "scandir", scandir):
        yield


def measure(process: Process, runs: int) -> dict[str, Json]:
    """Milliseconds of CPU to plan and to open the plan, and all that was done on the way."""
    plans, sessions, counts = [], [], {"walks": 0}
    exports = builds = weights = 0
    loads = process.engines.loads
    with counted_walks(counts):
        for number in range(runs):
            started = time.process_time()
            result = process.plan(f"a fox, number {number}")
            planned = time.process_time()
            Session(result.plan, result.constants, process.engines).close()
            plans.append(1e3 * (planned - started))
            sessions.append(1e3 * (time.process_time() - planned))
            exports, builds = exports + result.counts.exports, builds + result.counts.builds
            weights += result.counts.weights
    done = {"exports": exports, "builds": builds, "weights": weights, "loads": process.engines.loads - loads, **counts}
    return {
        "runs": runs, "plan_ms": min(plans), "plan_ms_median": statistics.median(plans),
        "session_ms": min(sessions), "session_ms_median": statistics.median(sessions), "done": done,
    }  # fmt: skip


def main(runs: int = RUNS) -> dict[str, Json]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        checkpoints = root / "models" / "checkpoints"
        checkpoints.mkdir(parents=True)
        write_checkpoint(checkpoints / CHECKPOINT, seed=1)
        time.sleep(2.1)  # the listing of a folder that changed just now is not remembered
        Process(root).plan("fills the store")
        process = Process(root)
        rows = {"cold": measure(process, 1), "warm": measure(process, runs)}
    for name, row in rows.items():
        print(f"{name}: plan {row['plan_ms']:.1f} ms (median {row['plan_ms_median']:.1f}), session "
              f"{row['session_ms']:.1f} ms; {row['done']}")  # fmt: skip
    return rows


if __name__ == "__main__":
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    found = {"unit": "milliseconds of CPU", **machine, **main()}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(f"written to {RESULTS}")
