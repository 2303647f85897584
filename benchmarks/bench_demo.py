"""How long does a newcomer wait for the first picture? `comfyc demo TEXT` from an empty store, then from a warm one.

usage: python -m benchmarks.bench_demo        writes benchmarks/results/demo.json
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "demo.json"
TEXT = "two red circles on a blue background"
WARM_RUNS = 3


def seconds(folder: Path) -> dict[str, float]:
    """One run in a process of its own: its own account, and the wall clock around it."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "comfyc", "demo", TEXT, "--json", "-o", str(folder / "output")],
        env={**os.environ, "COMFYC_CACHE": str(folder / "cache")}, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    wall = time.perf_counter() - began
    return {**json.loads(done.stdout)["seconds"], "process": round(wall, 3)}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="comfyc-bench-") as scratch:
        cold = seconds(Path(scratch))
        warm = min((seconds(Path(scratch)) for _ in range(WARM_RUNS)), key=lambda s: s["process"])
    result = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "text": TEXT,
        "load_average": os.getloadavg(),
        "empty_store": cold,
        f"warm_store_least_of_{WARM_RUNS}": warm,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(f"empty store  {cold['process']:5.1f} s   warm store  {warm['process']:5.1f} s   (whole process)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
