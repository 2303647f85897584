"""One process of benchmarks.bench_gpu: opens a plan, draws with it, prints a line of JSON last.

usage: python -m benchmarks.gpu_worker PLAN [--runs N] [--batch N] [--sizes 512x512,...] [--input DIR]
       BENCH_STARTED, seconds since the epoch, in the environment
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphs.program import Step
    from runtime.session import Session

Row = dict[str, Any]
SEED = 7  # of the picture that is compared
SAMPLER, CHECKPOINT, LATENT, DECODE = "3", "4", "5", "8"  # nodes of graphs/examples/api/default.json


class Lines(logging.Handler):
    """Keeps what the engines say about the phases of their loading."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


class Runs:
    """Draws with an open session, and times each run on the wall clock."""

    def __init__(self, session: Session, folder: Path, inputs: Path) -> None:
        self._session, self._folder, self._inputs = session, folder, inputs

    def once(self, seed: int, settings: Mapping[str, Any], *, waits: bool = False) -> Row:
        """run_s: to the PNG on disk. picture_s: to the pixels on the GPU. waits: for the GPU before each step, so
        that step_ms is what each step takes there; else it is the time of the host."""
        import torch

        pixels: list[float] = []

        def before(step: Step) -> None:
            saves = step.op == "save_image"
            if waits or saves:
                torch.cuda.synchronize()
            if saves:
                pixels.append(time.time())
            marks.append((step.id, time.time()))

        marks: list[tuple[str, float]] = []
        begin = time.time()
        result = self._session.run(
            {f"{SAMPLER}.seed": seed, **settings}, input_dir=self._inputs, output_dir=self._folder, on_step=before
        )
        ended = time.time()
        times = [*(t for _, t in marks), ended]
        steps = {name: 1000 * (times[n + 1] - t) for n, (name, t) in enumerate(marks)}
        return {
            "run_s": ended - begin, "picture_s": pixels[-1] - begin, "load_s": result.seconds["load"],
            "step_ms": {name: round(ms, 2) for name, ms in steps.items() if ms > 0.1},
            "picture": str(result.files[0].path),
        }  # fmt: skip

    def warm(self, runs: int, settings: Mapping[str, Any]) -> Row:
        rows = [self.once(42 + turn, settings) for turn in range(runs)]
        times = sorted(float(row["picture_s"]) for row in rows)
        return {
            "picture_s": median(times), "picture_s_least": times[0], "picture_s_most": times[-1],
            "with_png_s": median(row["run_s"] for row in rows),
        }  # fmt: skip


def work(given: argparse.Namespace) -> Row:
    """Seconds of the wall clock, of the first run and of warm ones."""
    started = float(os.environ["BENCH_STARTED"])
    lines = Lines()
    for name in ("runtime.engines", "runtime.backends"):
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).addHandler(lines)
    import torch

    from runtime.session import Session
    from runtime.store import Store

    imported = time.time()
    torch.cuda.init()  # type: ignore[no-untyped-call]
    context = time.time()
    with Session.open(given.plan, store=Store()) as session:
        opened = time.time()
        runs = Runs(session, given.plan.parent / f"out-{given.plan.stem}", given.input)
        settings = {f"{LATENT}.batch_size": given.batch} if given.batch > 1 else {}
        first = runs.once(1, settings)
        row: Row = {
            "import_s": imported - started, "cuda_init_s": context - imported, "open_s": opened - context,
            "load_s": first["load_s"], "first_run_s": first["run_s"], "first_step_ms": first["step_ms"],
            "start_to_first_picture_s": opened - started + first["run_s"], "said": lines.found[:],
        }  # fmt: skip
        row |= runs.warm(given.runs, settings)
        waited = runs.once(SEED, settings, waits=True)
        row |= {"step_ms": waited["step_ms"], "picture": waited["picture"]}
        row["decode_ms"] = next(ms for step, ms in waited["step_ms"].items() if step.startswith(f"{DECODE}."))
        for size in filter(None, given.sizes.split(",")):
            width, height = (int(side) for side in size.split("x"))
            sides = {f"{LATENT}.width": width, f"{LATENT}.height": height}
            began = time.time()
            runs.once(1, sides)
            row.setdefault("sizes", {})[size] = {"first_s": time.time() - began, **runs.warm(given.runs, sides)}
        free, total = torch.cuda.mem_get_info()
        row |= {
            "peak_vram_gib": torch.cuda.max_memory_allocated() / 2**30,
            "reserved_vram_gib": torch.cuda.max_memory_reserved() / 2**30,
            "used_vram_gib": (total - free) / 2**30,
        }
    return row


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--sizes", default="")
    parser.add_argument("--input", type=Path, default=Path("input"))
    print(json.dumps(work(parser.parse_args(argv))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
