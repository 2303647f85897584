"""Runs the recorded cases through comfyc's own compile and run, and prints how near each comes.

usage: python -m tests.parity.run --models FOLDER [--backend onnxruntime] [--group sd15|sdxl|sd2] [CASE ...]
                                  [--only sampler_] [--limit N] [--isolated] [--jobs N] [--resume FILE]

A case whose node classes or model family comfyc does not compile yet is listed as such, with comfyc's own reason, and
counted. Writes benchmarks/results/parity-[GROUP-]BACKEND.json when every case of the group was run. Exit status 1 when
any is out of bounds, takes more memory than MEMORY_BOUND_GIB, or was within bounds in the results kept before and is
not compiled any more.

--isolated: each case in a process of its own, whose peak memory is printed. --jobs N: N processes, each with its share
of the cases and of the cores. --resume FILE: results are appended to FILE case by case; cases in it are not run again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.parity.case_run import NOT_YET, OFF, OK, Result, run_case
from tests.parity.cases import Case, all_cases
from tests.parity.layouts.files import GROUPS
from tests.parity.results import append, appended, compiled_before, results_file, save

MEMORY_BOUND_GIB = 20  # of a process that compiles and runs one case; mapped weights count


def run_apart(case: Case, backend: str, models: Path) -> Result:
    """run_case() in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="comfyc-parity-") as scratch:
        answer = Path(scratch) / "result"
        command = [sys.executable, "-m", "tests.parity.run", "--models", str(models), "--backend", backend]
        command += ["--group", case.group, "--resume", str(answer), case.id]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        found = appended(answer).get(case.id)
    if found is None:
        raise SystemExit(f"{case.id}: its process ended with {process.returncode}")
    found = replace(found, peak_rss_bytes=usage.ru_maxrss << 10)
    if usage.ru_maxrss << 10 > MEMORY_BOUND_GIB << 30:
        return found.off(f"more than {MEMORY_BOUND_GIB} GiB of memory")
    return found


def run_shares(args: argparse.Namespace, chosen: list[Case], backend: str, models: Path) -> dict[str, Result]:
    """The cases dealt out to processes of their own. Results by case; a process that died leaves some out."""
    cores = sorted(os.sched_getaffinity(0))
    own = max(1, len(cores) // args.jobs)
    with tempfile.TemporaryDirectory(prefix="comfyc-parity-") as scratch:
        processes = []
        for job in range(args.jobs):
            command = [sys.executable, "-m", "tests.parity.run", "--models", str(models), "--backend", backend]
            command += ["--group", args.group, "--resume", f"{scratch}/{job}"] + ["--isolated"] * args.isolated
            if share := [case.id for case in chosen[job :: args.jobs]]:
                processes.append(subprocess.Popen([*command, *share], stdout=subprocess.DEVNULL))
                first = job * own % len(cores)
                os.sched_setaffinity(processes[-1].pid, cores[first : first + own])
        found: dict[str, Result] = {}
        while True:
            running = any(process.poll() is None for process in processes)
            parts = [appended(Path(f"{scratch}/{job}")) for job in range(args.jobs)]
            fresh = {case: result for part in parts for case, result in part.items()}
            for case in sorted(fresh.keys() - found.keys()):
                if args.resume:
                    append(args.resume, fresh[case])
            found = fresh
            if not running:
                return found
            time.sleep(1)


def line(result: Result, width: int) -> str:
    d = result.distance
    if result.status == NOT_YET:
        return f"{result.case:<{width}}  not yet: {result.reason}"
    text = f"{result.case:<{width}}  {d.latent:>9.2e}  {d.pixel:>5}  {d.psnr_db:>6.1f}"
    text += f"  {result.compile_seconds:>7.1f}  {result.run_seconds:>7.1f}"
    text += f"  {result.peak_rss_bytes / 2**30:>8.1f}" if result.peak_rss_bytes else ""
    text += f"  {'ok' if result.status == OK else 'OFF'}"
    if result.flips:
        text += f"  with {len(result.flips)} of {result.eight_bit} 8-bit values on the other side of its step"
        text += f" ({', '.join(result.flips)}); {result.latent_as_run:.2e} without"
    return f"{text}  {d.problem}" if d.problem else text


def summary(results: list[Result]) -> str:
    ran = [r for r in results if r.status != NOT_YET]
    text = f"{sum(r.status == OK for r in ran)} of {len(ran)} within bounds, {len(results) - len(ran)} not yet"
    if ran:
        worst = max(r.distance.latent for r in ran)
        text += f"; worst latent error {worst:.2e} of std, {sum(r.run_seconds for r in ran):.0f} s running"
    peaks = [r.peak_rss_bytes for r in ran if r.peak_rss_bytes]
    return text + (f", peak memory {max(peaks) / 2**30:.1f} GiB" if peaks else "")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare comfyc with recorded pictures of ComfyUI.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="these cases alone")
    parser.add_argument("--models", type=Path, required=True, help="folder made by tests.parity.prepare")
    parser.add_argument("--backend", default="onnxruntime", choices=("onnxruntime", "eager"))
    parser.add_argument("--group", default=GROUPS[0], choices=GROUPS, help="by the size of the model files")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--limit", type=int, default=0, help="the first N of them")
    parser.add_argument("--isolated", action="store_true", help="a process for each case; prints its peak memory")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes, each with a share of the cores")
    parser.add_argument("--resume", type=Path, help="file of results: append to it, skip what it has")
    args = parser.parse_args(argv)
    known = {c.id: c for c in all_cases()}
    if unknown := [name for name in args.cases if name not in known]:
        parser.error(f"no such case: {', '.join(unknown)}")
    chosen = [known[name] for name in args.cases] or [c for c in all_cases(args.group) if args.only in c.id]
    args.chosen = chosen[: args.limit or None]
    if not args.chosen:
        parser.error(f"no case of {args.group} has {args.only!r} in its name")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    kept = results_file(args.backend, args.group)
    before = compiled_before(kept)
    done = appended(args.resume) if args.resume else {}
    width = max(len(c.id) for c in args.chosen)
    head = f"{'case':<{width}}  {'latent':>9}  {'pixel':>5}  {'PSNR':>6}  {'compile':>7}  {'run':>7}"
    print(f"{args.backend}, {len(args.chosen)} cases\n{head}{'  peak GiB' if args.isolated else ''}", flush=True)
    run: Callable[[Case, str, Path], Result] = run_apart if args.isolated else run_case
    results = []
    if args.jobs > 1:
        done |= run_shares(args, [c for c in args.chosen if c.id not in done], args.backend, args.models)
    for case in args.chosen:
        result = done.get(case.id) or run(case, args.backend, args.models)
        if result.status == NOT_YET and case.id in before:
            result = result.off(f"was compiled before: {result.reason}")
        if args.resume and case.id not in done:
            append(args.resume, result)
        print(line(result, width), flush=True)
        results.append(result)
    print(summary(results))
    if len(results) == len(all_cases(args.group)):
        save(kept, args.backend, args.group, results)
    return 1 if any(r.status == OFF for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
