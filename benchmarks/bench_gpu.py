"""How fast plans run on one NVIDIA GPU: load, first picture, pictures per second, memory, distance to float32.

usage: python -m benchmarks.bench_gpu [PART...] [--folder DIR] [--json FILE] [--runs N] [--seconds N]
       [--build-seconds N]

Parts are done in order, and the results are written after each of them. CASE is sd15 or sdxl, PLAN a name of
gpu_cases.PLANS:

    build:CASE/PLAN          compile a plan; builds that stand together run at once, with tuning one at a time
    draw:CASE/PLAN[/BATCH]   draw in a fresh process
    sizes:CASE/PLAN/WxH,...  draw at each size, after the usual one
    switch:CASE/BACKEND      other checkpoints and LoRAs in one process, builds counted
    gpu_tests                tests/gpu

Without parts: all of PARTS. Checkpoints are of each family's full size with random weights, so pictures are patterns,
and distances are those of such pictures. Each plan's picture is compared with eager float32's on the same GPU.
--seconds: what has not begun by then is not begun. Builds that still run then, or --build-seconds after they began, are
stopped: what they have finished is in the store of --folder, where the next call with this folder finds it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_cases import CASES, PLANS, prompt, reference_of, write_files

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "build:sd15/inductor-b8", "build:sd15/eager-fp32", "build:sd15/eager-fp16", "draw:sd15/eager-fp32",
    "draw:sd15/eager-fp16", "draw:sd15/inductor-b8", "draw:sd15/inductor-b8/8",
    "build:sdxl/inductor", "build:sdxl/eager-fp32", "build:sdxl/eager-fp16", "draw:sdxl/eager-fp32",
    "draw:sdxl/eager-fp16", "draw:sdxl/inductor",
    "switch:sd15/inductor", "build:sd15/inductor-controlnet", "draw:sd15/inductor-controlnet",
    "build:sd15/inductor-sizes", "sizes:sd15/inductor-sizes/512x768,768x512,768x768", "gpu_tests",
)  # fmt: skip


class Bench:
    """folder: models, plans, store and pictures. report: what has been found; written to `json_file` by save()."""

    def __init__(self, folder: Path, json_file: Path | None, runs: int, seconds: float, build_seconds: float) -> None:
        import torch

        self.folder, self._json, self._runs = folder, json_file, runs
        self._began, self._end, self._build_seconds = time.time(), time.time() + seconds, build_seconds
        self._building: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
        self.report: Row = {
            "device": torch.cuda.get_device_name(), "torch": torch.__version__, "builds": {}, "rows": [],
            "switches": {}, "not_run": {},
        }  # fmt: skip

    def save(self) -> None:
        """With the distances of the pictures whose reference has been drawn by now."""
        rows = {(row["case"], row["plan"]): row for row in self.report["rows"] if row["batch"] == 1}
        for (name, plan), row in rows.items():
            reference = rows.get((name, reference_of(plan)))
            if reference is not None and reference is not row and "distance" not in row:
                row["distance"] = distance(Path(row["picture"]), Path(reference["picture"]))
                self._say(f"{name}/{plan}: {row['distance']}")
        if self._json is not None:
            self._json.write_text(json.dumps(self.report, indent=1) + "\n", "utf-8")

    def part(self, text: str) -> None:
        """Does a part; what fails or is too late is noted, and the next one goes on."""
        what, _, rest = text.partition(":")
        fields = rest.split("/")
        if what != "build":
            self.wait()
        if time.time() > self._end:
            self.report["not_run"][text] = "no time left"
            self.save()
            return
        try:
            getattr(self, f"do_{what}")(*fields)
        except (subprocess.SubprocessError, OSError, RuntimeError, ValueError) as error:
            self.report["not_run"][text] = str(error)[-400:]
            self._say(f"{text} failed: {error}")
        self.save()

    # --- parts

    def do_build(self, name: str, kind: str) -> None:
        plan, side = PLANS[kind], CASES[name].side
        write_files(name, self.folder / "models", plan.workflow)
        low, high = plan.sides or (side, side)
        workflow, log = self.folder / f"{name}-{plan.workflow}.json", self.folder / f"{name}-{kind}.log"
        workflow.write_text(json.dumps(prompt(name, plan.workflow)), "utf-8")
        command = [sys.executable, "-m", "comfyc", "compile", str(workflow), "-o", str(self._plan(name, kind)), "-v"]
        options = ["--size", f"{low}..{high}", "--batch", plan.batch, "--models", str(self.folder / "models")]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, *plan.options, *options], cwd=ROOT, env=self._environment(), stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._building[f"{name}/{kind}"] = (process, time.time())
        self._say(f"build {name}/{kind} begun")

    def wait(self) -> None:
        """For the builds that run. Raises nothing: one that failed or was stopped is noted."""
        for what, (process, began) in self._building.items():
            try:
                status = process.wait(max(0.0, min(self._end, began + self._build_seconds) - time.time()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
            took = time.time() - began
            if status:
                log = (self.folder / f"{what.replace('/', '-')}.log").read_text("utf-8", errors="replace")
                self.report["not_run"][f"build:{what}"] = f"status {status} after {took:.0f} s: {log[-600:]}"
            else:
                self.report["builds"][what] = {"compile_s": took}
            self._say(f"build {what}: status {status} after {took:.1f} s")
        self._building.clear()
        self.save()

    def do_draw(self, name: str, kind: str, batch: str = "1") -> None:
        case, count = CASES[name], int(batch)
        row: Row = {"case": name, "plan": kind, "side": case.side, "batch": count}
        row |= self._drawn(name, kind, "--batch", batch)
        each = row["picture_s"] / count
        row |= {
            "images_per_s": 1 / each, "of_limit": each / case.limit_s, "of_comfyui": each / case.comfyui_s,
            "of_diffusers": each / case.diffusers_s,
        }  # fmt: skip
        self._add(row)

    def do_sizes(self, name: str, kind: str, sizes: str) -> None:
        self._add({"case": name, "plan": kind, "side": CASES[name].side, "batch": 1,
                   **self._drawn(name, kind, "--sizes", sizes)})  # fmt: skip

    def do_switch(self, name: str, backend: str) -> None:
        for workflow, checkpoint in (("loras", 0), ("plain", 1)):
            write_files(name, self.folder / "models", workflow, checkpoint)
        command = [sys.executable, "-m", "benchmarks.gpu_switch", name, backend, str(self.folder)]
        self.report["switches"][f"{name}/{backend}"] = self._child(command)
        self._say(json.dumps(self.report["switches"]))

    def do_gpu_tests(self, *_: str) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests/gpu"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=max(1.0, self._end - time.time()), check=False)  # fmt: skip
        self.report["gpu_tests"] = done.stdout.strip().splitlines()[-1]
        self._say(done.stdout[-3000:])

    # --- with

    def _plan(self, name: str, kind: str) -> Path:
        return self.folder / f"{name}-{kind}.plan"

    def _drawn(self, name: str, kind: str, *options: str) -> Row:
        count = self._runs if PLANS[kind].options[1] != "eager" else min(1, self._runs)  # slow, and not the question
        runs = ["--runs", str(count), "--input", str(self.folder / "input")]
        return self._child(
            [sys.executable, "-m", "benchmarks.gpu_worker", str(self._plan(name, kind)), *runs, *options]
        )

    def _child(self, command: list[str]) -> Row:
        """The last line that a process prints."""
        log = self.folder / "child.log"
        environment = self._environment() | {"BENCH_STARTED": str(time.time())}
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=file, text=True,
                                  timeout=max(1.0, self._end + 60 - time.time()), check=False)  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"status {done.returncode}: {log.read_text('utf-8')[-1500:]}")
        row: Row = json.loads(done.stdout.splitlines()[-1])
        return row

    def _add(self, row: Row) -> None:
        self.report["rows"].append(row)
        self._say(json.dumps(row))

    def _say(self, text: str) -> None:
        print(f"[{time.time() - self._began:6.1f} s] {text}", flush=True)

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "COMFYC_CACHE": str(self.folder / "store"), "PYTHONPATH": path}


def distance(picture: Path, reference: Path) -> Row:
    """psnr_db over 8-bit pixels, the largest difference of one, and the reference's standard deviation."""
    from PIL import Image

    a, b = (np.asarray(Image.open(p).convert("RGB"), np.float64) for p in (picture, reference))
    error = float(np.mean((a - b) ** 2))
    return {
        "psnr_db": 10 * math.log10(255**2 / error) if error else None,
        "largest": float(np.abs(a - b).max()),
        "std": float(b.std()),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS)
    parser.add_argument("--folder", type=Path, help="kept; a temporary one without")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--build-seconds", type=float, default=3600)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder.resolve(), given.json, given.runs, given.seconds, given.build_seconds)
        for part in given.parts or PARTS:
            bench.part(part)
        bench.wait()
        bench.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
