"""Runs the recorded cases through comfyc's own compile and run, and prints how near each comes.

usage: python -m tests.parity.run --models FOLDER [--backend onnxruntime] [--only sampler_] [--limit N]

Writes benchmarks/results/parity-BACKEND.json when every case was run. Exit status 1 when any is out of bounds.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from comfyc.running import Opened, compiled, open_plan, run_once
from graphs.errors import ComfycError
from tests.parity.cases import INPUTS, Case, all_cases
from tests.parity.comparison import Distance, compare
from tests.parity.eight_bit import Conversions, Flip, explained, observed
from tests.parity.kept_modules import kept_modules

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@dataclass(frozen=True)
class Result:
    """One case: how near, and the seconds that compiling (engines may come from the store) and running took.

    flips: values beside an 8-bit step that had to be put on its other side (tests/parity/eight_bit.py), of `eight_bit`
    values that the run converted; latent_as_run: the distance without that.
    """

    case: str
    ok: bool
    distance: Distance
    compile_seconds: float
    run_seconds: float
    flips: tuple[str, ...] = ()
    eight_bit: int = 0
    latent_as_run: float = 0.0


def run_case(case: Case, backend: str, models: Path) -> Result:
    """Compiles and runs one case in scratch folders; an error of comfyc counts as out of bounds."""
    with tempfile.TemporaryDirectory(prefix="comfyc-parity-") as scratch:
        began = time.perf_counter()
        ready = finished = began
        conversions = Conversions()
        flips: tuple[Flip, ...] = ()
        try:
            chosen = {"backend": backend, "precision": "fp32", "compat": case.compat}
            plan = compiled(case.workflow, Path(scratch) / "plan", [models], **chosen)
            ready = time.perf_counter()
            with open_plan(plan, (), [models], INPUTS, kept_modules) as opened:
                with observed() as conversions:
                    distance = as_run = _distance(case, opened, Path(scratch) / "output")
                finished = time.perf_counter()
                if not distance.within(case) and conversions.near:
                    again = partial(_distance, case, opened, Path(scratch) / "again")
                    distance, flips = explained(case, distance, again, conversions.near)
        except ComfycError as error:
            distance = as_run = Distance(math.inf, 255, 0.0, problem=f"{type(error).__name__}: {error}")
    gc.collect()
    return Result(
        case.id, distance.within(case), distance, ready - began, max(0.0, finished - ready),
        tuple(map(str, flips)), conversions.values, as_run.latent,
    )  # fmt: skip


def _distance(case: Case, opened: Opened, output: Path) -> Distance:
    shutil.rmtree(output, ignore_errors=True)  # names are numbered: a second run starts afresh
    files = run_once(opened, output).files
    latents = [Path(f.path) for f in files if f.kind == "latents"]
    return compare(case, latents, [Path(f.path) for f in files if f.kind == "images"])


def line(result: Result, width: int) -> str:
    d = result.distance
    text = f"{result.case:<{width}}  {d.latent:>9.2e}  {d.pixel:>5}  {d.psnr_db:>6.1f}"
    text += f"  {result.compile_seconds:>7.1f}  {result.run_seconds:>7.1f}  {'ok' if result.ok else 'OFF'}"
    if result.flips:
        text += f"  with {len(result.flips)} of {result.eight_bit} 8-bit values on the other side of its step"
        text += f" ({', '.join(result.flips)}); {result.latent_as_run:.2e} without"
    return f"{text}  {d.problem}" if d.problem else text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare comfyc with recorded pictures of ComfyUI.")
    parser.add_argument("--models", type=Path, required=True, help="folder made by tests.parity.prepare")
    parser.add_argument("--backend", default="onnxruntime", choices=("onnxruntime", "eager"))
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--limit", type=int, default=0, help="the first N of them")
    args = parser.parse_args(argv)
    chosen = [c for c in all_cases() if args.only in c.id][: args.limit or None]
    if not chosen:
        parser.error(f"no case has {args.only!r} in its name")
    width = max(len(c.id) for c in chosen)
    print(
        f"{args.backend}, {len(chosen)} cases\n{'case':<{width}}  {'latent':>9}  {'pixel':>5}  {'PSNR':>6}"
        f"  {'compile':>7}  {'run':>7}",
        flush=True,
    )
    results = []
    for case in chosen:
        results.append(run_case(case, args.backend, args.models))
        print(line(results[-1], width), flush=True)
    bad = [r for r in results if not r.ok]
    print(
        f"{len(results) - len(bad)} of {len(results)} within bounds; worst latent error "
        f"{max(r.distance.latent for r in results):.2e} of std, {sum(r.run_seconds for r in results):.0f} s running"
    )
    if len(chosen) == len(all_cases()):
        _write(args.backend, results)
    return 1 if bad else 0


def _write(backend: str, results: list[Result]) -> None:
    import torch

    RESULTS.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(json.dumps(asdict(r)).replace("Infinity", "null")) for r in results]
    machine = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }
    document = {"backend": backend, "machine": machine, "ok": sum(r.ok for r in results), "cases": rows}
    (RESULTS / f"parity-{backend}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
