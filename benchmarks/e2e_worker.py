"""One process of benchmarks.bench_e2e: opens a plan, then runs it as often as it is told to.

usage: python -m benchmarks.e2e_worker PLAN     with BENCH_STARTED, seconds since the epoch, in the environment

It prints a line of JSON when the plan is open. For every line of JSON it reads, {"steps": 4, "seed": 1, "output":
FOLDER}, it runs the plan once and prints a line of JSON with the timings; at the end of its input it ends.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.session import Session

Row = dict[str, Any]
SAMPLER = "3"  # the KSampler of graphs/examples/default.json


def run(session: Session, order: Row) -> Row:
    """Seconds of one run. step_s: of every sampling step but the first, which loads the network and its pages;
    step_cpu_s: what all threads together computed in each, which another program on the machine changes less."""
    marks: list[float] = []
    spent: list[float] = []

    def mark(what: str, done: int, total: int) -> bool:
        marks.append(time.time())
        spent.append(time.process_time())
        return True

    begin = time.time()
    result = session.run(
        {f"{SAMPLER}.steps": order["steps"], f"{SAMPLER}.seed": order["seed"]}, output_dir=order["output"],
        progress=mark,
    )  # fmt: skip
    ended = time.time()
    files = {file.kind: str(file.path) for file in result.files}
    return {
        "run_s": ended - begin,
        "load_s": result.seconds["load"],
        "begin": begin,
        "first_step_done": marks[0],
        "step_s": [b - a for a, b in itertools.pairwise(marks)],
        "step_cpu_s": [b - a for a, b in itertools.pairwise(spent)],
        "decode_s": next(ms for step, ms in result.step_ms.items() if "decode" in step) / 1000,
        "peak_rss_gib": (result.peak_rss_bytes or 0) / 2**30,
        "picture": files["images"],
        "latent": files["latents"],
    }


def main(plan: Path) -> None:
    started = float(os.environ["BENCH_STARTED"])
    import torch

    from runtime.session import Session
    from runtime.store import Store

    imported = time.time()
    with Session.open(plan, store=Store()) as session:
        opened = time.time()
        say({"import_s": imported - started, "open_s": opened - imported, "threads": torch.get_num_threads()})
        for line in sys.stdin:
            say(run(session, json.loads(line)))


def start_seconds(first: Row, started: float) -> float:
    """From the start of the process to the start of the first step: its end, less what a step takes."""
    done, steps = float(first["first_step_done"]), [float(s) for s in first["step_s"]]
    return done - started - median(steps)


def say(row: Row) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
