"""How fast is a compiled plan, next to the same plan run by eager torch?

usage: python -m benchmarks.bench_e2e [--models FOLDER] [--checkpoint NAME] [--sizes 256,512] [--steps N] [--repeat N]

For each size and backend the default text-to-image workflow is compiled (cold, into an empty store, then warm), and a
fresh process opens the plan and draws with it. Printed: seconds to compile, start-up by phase (import, open, load of
the engines, up to the end of the first sampling step), ms per step and of the VAE decode (medians over the steps of the
warm runs), peak memory, and how far the picture is from eager float32's. Beside it stand the recorded figures of
ComfyUI, which were measured on another machine of two cores: for orientation, not as a comparison in one run.
Writes benchmarks/results/e2e.json.
"""

from __future__ import annotations

import argparse
import itertools
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

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "e2e.json"
WORKFLOW = ROOT / "graphs" / "examples" / "default.json"
# ComfyUI 0.3.64, float32, two AVX2 cores of a shared machine: seconds per step (cond and uncond) and per decode.
COMFYUI = {256: (4.2, 5.5), 512: (16.0, 25.0)}

Row = dict[str, Any]


def worker(plan: Path, output: Path, models: Path, steps: int, repeat: int) -> Row:
    """One process: opens a plan, draws once cold and `repeat` times warm. started: when the process began."""
    started = float(os.environ["BENCH_STARTED"])
    import torch

    from runtime.session import Session
    from runtime.store import Store

    imported = time.time()
    session = Session.open(plan, store=Store())
    opened = time.time()
    runs: list[Row] = []
    for i in range(repeat + 1):
        marks: list[float] = []

        def mark(what: str, done: int, total: int, marks: list[float] = marks) -> bool:
            marks.append(time.time())
            return True

        begin = time.time()
        result = session.run({"3.steps": steps, "3.seed": 42 + (i > 0)}, output_dir=output / str(i), progress=mark)
        decode = next(ms for step, ms in result.step_ms.items() if "decode" in step)
        gaps = [b - a for a, b in itertools.pairwise(marks)]
        runs.append(
            {
                "run_s": time.time() - begin,
                "load_s": result.seconds["load"],
                "step_ms": [1000 * g for g in gaps],
                "first_step_s": marks[1] - begin if len(marks) > 1 else None,
                "decode_ms": decode,
                "picture": result.files[-1].path,
                "peak_rss_gib": (result.peak_rss_bytes or 0) / 2**30,
            }
        )
    warm = runs[1:]
    return {
        "threads": torch.get_num_threads(),
        "import_s": imported - started,
        "open_s": opened - imported,
        "load_s": runs[0]["load_s"],
        "to_first_step_s": imported - started + opened - imported + (runs[0]["first_step_s"] or math.nan),
        "step_ms": median(ms for run in warm for ms in run["step_ms"]),
        "decode_ms": median(run["decode_ms"] for run in warm),
        "cold_run_s": runs[0]["run_s"],
        "warm_run_s": median(run["run_s"] for run in warm),
        "peak_rss_gib": runs[-1]["peak_rss_gib"],
        "picture": runs[-1]["picture"],
    }


def measure(backend: str, size: int, models: Path, checkpoint: str, folder: Path, steps: int, repeat: int) -> Row:
    """Compiles cold and warm, then runs a worker process."""
    plan, store = folder / f"{backend}-{size}.plan", folder / f"store-{backend}"
    env = {**os.environ, "COMFYC_CACHE": str(store), "PYTHONPATH": str(ROOT)}
    workflow = folder / f"{size}.json"
    nodes = json.loads(subprocess.run(
        [sys.executable, "-m", "comfyc", "convert", str(WORKFLOW)], check=True, capture_output=True, env=env, cwd=ROOT
    ).stdout)  # fmt: skip
    for node in nodes.values():
        if node["class_type"] == "CheckpointLoaderSimple":
            node["inputs"]["ckpt_name"] = checkpoint
        if node["class_type"] == "EmptyLatentImage":
            node["inputs"].update(width=size, height=size)
    workflow.write_text(json.dumps(nodes))
    compile_command = [
        sys.executable, "-m", "comfyc", "compile", str(workflow), "-o", str(plan), "--backend", backend,
        "--models", str(models),
    ]  # fmt: skip
    seconds = []
    for _ in range(2):
        begin = time.time()
        subprocess.run(compile_command, check=True, env=env, cwd=ROOT, stdout=subprocess.DEVNULL)
        seconds.append(time.time() - begin)
    output = folder / f"out-{backend}-{size}"
    command = [sys.executable, "-m", "benchmarks.bench_e2e", "--worker", str(plan), str(output)]
    command += ["--steps", str(steps), "--repeat", str(repeat), "--models", str(models)]
    done = subprocess.run(
        command, check=True, cwd=ROOT, capture_output=True, text=True, env={**env, "BENCH_STARTED": str(time.time())}
    )
    row: Row = json.loads(done.stdout.splitlines()[-1])
    # The first size of a backend exports its networks; later sizes find them in the store.
    return {"backend": backend, "size": size, "compile_first_s": seconds[0], "compile_again_s": seconds[1], **row}


def distance(picture: str, reference: str) -> dict[str, float]:
    """Largest difference in 1/255 and PSNR in dB of two 8-bit pictures."""
    import numpy as np
    from PIL import Image

    a, b = (np.asarray(Image.open(p)).astype(np.int64) for p in (picture, reference))
    mse = float(((a - b) ** 2).mean())
    return {"max_of_255": int(abs(a - b).max()), "psnr_db": 10 * math.log10(255**2 / mse) if mse else math.inf}


def table(rows: list[Row]) -> str:
    lines = [
        "size  backend       ms/step  of eager  decode ms  of eager  to 1st step s  (import open load)  peak GiB"
        "  picture vs eager"
    ]
    for row in rows:
        eager = next((r for r in rows if r["size"] == row["size"] and r["backend"] == "eager"), row)
        psnr = row["distance"]["psnr_db"]
        lines.append(
            f"{row['size']:<5} {row['backend']:<12} {row['step_ms']:>8.0f} {row['step_ms'] / eager['step_ms']:>9.2f}"
            f" {row['decode_ms']:>10.0f} {row['decode_ms'] / eager['decode_ms']:>9.2f} {row['to_first_step_s']:>14.1f}"
            f"  ({row['import_s']:.1f} {row['open_s']:.1f} {row['load_s']:.1f})       {row['peak_rss_gib']:>8.1f}"
            f"  max {row['distance']['max_of_255']}/255, {psnr:.0f} dB"
        )
    for size, (step, decode) in COMFYUI.items():
        if any(r["size"] == size for r in rows):
            figures = f"{1000 * step:>6.0f} {1000 * decode:>20.0f}"
            lines.append(f"{size:<5} ComfyUI 0.3.64 {figures}   recorded on another machine of two cores")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compiled plan against eager torch, end to end.")
    parser.add_argument("--worker", nargs=2, metavar=("PLAN", "OUTPUT"), help=argparse.SUPPRESS)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--checkpoint", default="sd15.safetensors")
    parser.add_argument("--sizes", default="256,512")
    parser.add_argument("--backends", default="eager,onnxruntime")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if args.worker:
        plan, output = map(Path, args.worker)
        print(json.dumps(worker(plan, output, args.models, args.steps, args.repeat)))
        return 0
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="comfyc-bench-") as folder:
        for size in map(int, args.sizes.split(",")):
            for backend in args.backends.split(","):
                where = (args.models.resolve(), args.checkpoint, Path(folder))
                rows.append(measure(backend, size, *where, args.steps, args.repeat))
                print(f"measured {backend} at {size}", file=sys.stderr)
            reference = next((r for r in rows if r["size"] == size and r["backend"] == "eager"), rows[-1])
            for row in rows:
                if row["size"] == size:
                    row["distance"] = distance(row["picture"], reference["picture"])
    print(table(rows))
    for row in rows:
        del row["picture"]
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps({"machine": machine, "steps": args.steps, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
