"""Results of parity runs as JSON: the file that is kept, and lines of a run that can go on where it stopped."""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.bench_e2e import processor
from tests.parity.case_run import NOT_YET, OK, Result
from tests.parity.comparison import Distance

Json = Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def results_file(backend: str, group: str) -> Path:
    return RESULTS / (f"parity-{backend}.json" if group == "sd15" else f"parity-{group}-{backend}.json")


def save(path: Path, backend: str, group: str, results: list[Result]) -> None:
    import torch

    machine = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    peaks = [r.peak_rss_bytes for r in results if r.peak_rss_bytes]
    document = {
        "backend": backend,
        "group": group,
        "machine": machine,
        "ok": sum(r.status == OK for r in results),
        "not_yet": sum(r.status == NOT_YET for r in results),
        "compile_seconds": round(sum(r.compile_seconds for r in results), 1),
        "run_seconds": round(sum(r.run_seconds for r in results), 1),
        "peak_rss_bytes": max(peaks, default=None),
        "cases": [_row(r) for r in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def compiled_before(path: Path) -> frozenset[str]:
    """The cases that the results kept in a file were within bounds for."""
    if not path.is_file():
        return frozenset()
    rows = json.loads(path.read_text("utf-8"))["cases"]
    return frozenset(row["case"] for row in rows if row.get("status") == OK)


def append(path: Path, result: Result) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(_row(result)) + "\n")


def appended(path: Path) -> dict[str, Result]:
    """By case; empty where the file is not there. The last line may be half of one, of a run that was killed."""
    found = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        far, flips, as_run = row.pop("distance"), tuple(row.pop("flips")), row.pop("latent_as_run")
        distance = Distance(_number(far["latent"]), far["pixel"], _number(far["psnr_db"]), far["problem"])
        found[row["case"]] = Result(**row, distance=distance, flips=flips, latent_as_run=_number(as_run))
    return found


def _number(value: float | None) -> float:
    return math.inf if value is None else value


def _row(result: Result) -> dict[str, Json]:
    """Infinity is null: JSON has no such number."""
    row: dict[str, Json] = json.loads(json.dumps(asdict(result)).replace("Infinity", "null"))
    return row
