"""How fast is a compiled plan, next to eager torch on the same machine in the same minutes?

usage: python -m benchmarks.bench_e2e [--models FOLDER] [--checkpoint NAME] [--sizes 256,512] [--steps N] [--rounds N]

The default text-to-image workflow (cond and uncond in a step, float32) is compiled for each backend, into an empty
store and once more into the filled one. For each size one process a backend opens its plan; then they draw in turn, so
that whatever else the machine does meets them alike. The first round is cold (it loads the networks); medians are over
the rounds after it. Then a process each opens the compiled plan with the weights in memory, and with the weights
dropped from memory, for the time up to the first step.

Printed: seconds to compile, ms a step (and CPU ms of all threads, which other programs change less) and for the VAE's
decode and how they compare with eager, start-up by phase, peak memory, and how far picture and latent are from eager's.
Below stand ComfyUI's recorded figures: another day, another machine of two cores, so for orientation only.
Writes benchmarks/results/e2e.json. About eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.e2e_worker import start_seconds
from graphs.examples import example

Row = dict[str, Any]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "e2e.json"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
MODELS = Path(os.environ.get("PARITY_MODELS") or CACHE / "comfyc" / "parity-models")
# ComfyUI 0.3.64, float32, two AVX2 cores: seconds a step and for the decode.
COMFYUI = {256: (4.2, 5.5), 512: (16.0, 25.0)}


class Worker:
    """A process that has a plan open. opened: what it said then."""

    def __init__(self, plan: Path, store: Path) -> None:
        self.started = time.time()
        env = {**os.environ, "COMFYC_CACHE": str(store), "BENCH_STARTED": str(self.started)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.e2e_worker", str(plan)], cwd=ROOT, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.opened = self._answer()

    def run(self, steps: int, seed: int, output: Path) -> Row:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"steps": steps, "seed": seed, "output": str(output)}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> Row:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended with {self._process.wait()}")
        row: Row = json.loads(line)
        return row


def workflow(folder: Path, checkpoint: str, size: int) -> Path:
    """The default workflow with a size, and a node that writes the latent."""
    prompt = json.loads(example("default", api=True).read_text("utf-8"))
    prompt["4"]["inputs"]["ckpt_name"] = checkpoint
    prompt["5"]["inputs"].update(width=size, height=size)
    prompt["10"] = {"class_type": "SaveLatent", "inputs": {"samples": ["3", 0], "filename_prefix": "latent"}}
    path = folder / f"{size}.json"
    path.write_text(json.dumps(prompt), "utf-8")
    return path


def compiled(file: Path, backend: str, folder: Path, models: Path) -> tuple[Path, float]:
    """The plan, and the seconds that the command took."""
    plan = folder / f"{backend}-{file.stem}.plan"
    command = [sys.executable, "-m", "comfyc", "compile", str(file), "-o", str(plan), "--backend", backend]
    env = {**os.environ, "COMFYC_CACHE": str(store_of(backend, folder))}
    began = time.time()
    subprocess.run(
        [*command, "--models", str(models)], check=True, env=env, cwd=ROOT, stdout=subprocess.DEVNULL
    )  # fmt: skip
    return plan, time.time() - began


def store_of(backend: str, folder: Path) -> Path:
    return folder / f"store-{backend}"


def measure(size: int, plans: dict[str, Path], folder: Path, steps: int, rounds: int) -> list[Row]:
    """A row for each backend, drawn in turn."""
    workers = {name: Worker(plan, store_of(name, folder)) for name, plan in plans.items()}
    runs: dict[str, list[Row]] = {name: [] for name in plans}
    loads = []
    for turn in range(rounds + 1):
        loads.append(load_average())
        for name, worker in workers.items():
            runs[name].append(worker.run(steps, 42 + turn, folder / f"out-{name}-{size}-{turn}"))
            print(f"  {size} {name} round {turn}: {runs[name][-1]['run_s']:.1f} s", file=sys.stderr, flush=True)
    for worker in workers.values():
        worker.close()
    rows = []
    for name, worker in workers.items():
        warm = runs[name][1:]
        rows.append({
            "size": size,
            "backend": name,
            "step_ms": 1000 * median(s for run in warm for s in run["step_s"]),
            "step_ms_least": 1000 * min(s for run in warm for s in run["step_s"]),
            "step_cpu_ms": 1000 * median(s for run in warm for s in run["step_cpu_s"]),
            "step_cpu_ms_least": 1000 * min(s for run in warm for s in run["step_cpu_s"]),
            "decode_ms": 1000 * median(run["decode_s"] for run in warm),
            "decode_ms_least": 1000 * min(run["decode_s"] for run in warm),
            "warm_run_s": median(run["run_s"] for run in warm),
            "cold_run_s": runs[name][0]["run_s"],
            "peak_rss_gib": max(run["peak_rss_gib"] for run in runs[name]),
            "threads": worker.opened["threads"],
            "load_average": loads,
            "picture": warm[-1]["picture"],
            "latent": warm[-1]["latent"],
        })  # fmt: skip
    return rows


def start_up(plan: Path, backend: str, folder: Path, *, in_memory: bool) -> Row:
    """Seconds up to the first step, by phase, in a fresh process. in_memory: weights are in the page cache."""
    for path in (store_of(backend, folder) / "entries").glob("weights-*"):
        with path.open("rb") as file:
            if in_memory:
                while file.read(1 << 24):
                    pass
            else:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    worker = Worker(plan, store_of(backend, folder))
    first = worker.run(3, 1, folder / f"start-{backend}-{in_memory}")
    worker.close()
    phases = {"import_s": worker.opened["import_s"], "open_s": worker.opened["open_s"], "load_s": first["load_s"]}
    return {
        "backend": backend, "weights_in_memory": in_memory, **phases,
        "to_first_step_s": start_seconds(first, worker.started),
        "first_step_done_s": first["first_step_done"] - worker.started,
    }  # fmt: skip


def distance(row: Row, reference: Row) -> Row:
    """Of pictures: the largest difference in 1/255, PSNR in dB; of latents: the largest over the deviation."""
    import numpy as np
    from PIL import Image
    from safetensors.numpy import load_file

    a, b = (np.asarray(Image.open(r["picture"])).astype(np.int64) for r in (row, reference))
    mse = float(((a - b) ** 2).mean())
    x, y = (load_file(r["latent"])["latent_tensor"].astype(np.float64) for r in (row, reference))
    return {
        "pixel_of_255": int(abs(a - b).max()),
        "psnr_db": 10 * math.log10(255**2 / mse) if mse else None,
        "latent_of_std": float(abs(x - y).max() / y.std()),
    }


def load_average() -> float:
    return round(os.getloadavg()[0], 2)


def report(result: Row) -> str:
    """The tables, for people."""
    lines = [
        "size  backend      ms/step  of eager  CPU ms/step (least)  decode ms  of eager  peak GiB  picture and latent,"
        " next to eager"
    ]
    for row in result["rows"]:
        eager = next((r for r in result["rows"] if r["size"] == row["size"] and r["backend"] == "eager"), row)
        far = row["distance"]
        least = f"({row['step_cpu_ms_least']:.0f})"
        psnr = "equal" if far["psnr_db"] is None else f"{far['psnr_db']:.0f} dB"
        lines.append(
            f"{row['size']:<5} {row['backend']:<11} {row['step_ms']:>8.0f} {row['step_ms'] / eager['step_ms']:>9.2f}"
            f" {row['step_cpu_ms']:>11.0f} {least:>8}"
            f" {row['decode_ms']:>10.0f} {row['decode_ms'] / eager['decode_ms']:>9.2f} {row['peak_rss_gib']:>9.1f}"
            f"  {far['pixel_of_255']}/255, {psnr}, {far['latent_of_std']:.1e} of std"
        )
    for size, (step, decode) in COMFYUI.items():
        figures = f"{1000 * step:>8.0f} {'':>30} {1000 * decode:>10.0f}"
        lines.append(f"{size:<5} {'ComfyUI':<11} {figures}   recorded on another day, on another machine of two cores")
    lines.append("\nbackend      weights   import s  open s  load s  to first step s  first step done s")
    for row in result["start_up"]:
        where = "memory" if row["weights_in_memory"] else "disk"
        lines.append(
            f"{row['backend']:<12} {where:<8} {row['import_s']:>9.2f} {row['open_s']:>7.2f} {row['load_s']:>7.2f}"
            f" {row['to_first_step_s']:>16.2f} {row['first_step_done_s']:>18.2f}"
        )
    lines += [""] + [f"compile for {b}: {s[0]:.1f} s, again {s[1]:.1f} s" for b, s in result["compile_s"].items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A compiled plan next to eager torch, end to end.")
    parser.add_argument("--models", type=Path, default=MODELS, help="default: what `make parity-models` makes")
    parser.add_argument("--checkpoint", default="sd15.safetensors")
    parser.add_argument("--sizes", default="256,512")
    parser.add_argument("--backends", default="eager,onnxruntime")
    parser.add_argument("--steps", type=int, default=3, help="two or more")
    parser.add_argument("--rounds", type=int, default=2, help="warm rounds")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    models, backends, sizes = args.models.resolve(), args.backends.split(","), [int(s) for s in args.sizes.split(",")]
    began, result = time.time(), machine()
    with tempfile.TemporaryDirectory(prefix="comfyc-bench-") as name:
        folder = Path(name)
        files = {size: workflow(folder, args.checkpoint, size) for size in sizes}
        again = {b: [compiled(files[sizes[0]], b, folder, models)[1] for _ in range(2)] for b in backends}
        rows: list[Row] = []
        for size in sizes:
            plans = {b: compiled(files[size], b, folder, models)[0] for b in backends}
            found = measure(size, plans, folder, args.steps, args.rounds)
            reference = next((r for r in found if r["backend"] == "eager"), found[0])
            rows += [{**row, "distance": distance(row, reference)} for row in found]
        starts = [start_up(plans[b], b, folder, in_memory=m) for b in backends if b != "eager" for m in (True, False)]
    for row in rows:
        del row["picture"], row["latent"]
    result |= {"steps": args.steps, "rounds": args.rounds, "rows": rows, "start_up": starts, "compile_s": again}
    print(report(result))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps({**result, "seconds": round(time.time() - began)}, indent=1) + "\n", "utf-8")
    print(f"\n{time.time() - began:.0f} s in all, written to {args.output}")
    return 0


def machine() -> Row:
    import onnxruntime
    import torch

    return {
        "machine": platform.machine(), "cores": os.cpu_count(), "processor": processor(),
        "python": platform.python_version(), "torch": torch.__version__, "onnxruntime": onnxruntime.__version__,
        "checkpoint": "full-size Stable Diffusion 1.5, synthetic weights", "precision": "float32",
    }  # fmt: skip


def processor() -> str:
    """The processor's name and the widest vectors it has, where Linux says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags", "").split()
    return f"{fields.get('model name', '?')}, {'AVX-512' if 'avx512f' in flags else 'AVX2' if 'avx2' in flags else '?'}"


if __name__ == "__main__":
    sys.exit(main())
