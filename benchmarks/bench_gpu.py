"""How fast plans run on one NVIDIA GPU: load, first picture, pictures per second, memory, distance to float32.

usage: python -m benchmarks.bench_gpu [--cases sd15,sdxl] [--backends inductor,eager] [--runs N] [--json FILE]

Each case writes a checkpoint of its family's full size with random weights, compiles the default workflow (20 Euler
steps, CFG, VAE) at its size with every backend, and draws in a fresh process for each plan. The reference picture is
eager float32's on the same GPU. Weights are untrained: pictures are patterns, distances are those of such pictures.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import synthetic
from compiler.families import SD1, SDXL, Family
from compiler.networks.text import TextConfig
from compiler.networks.unet_config import UNetConfig
from compiler.networks.vae import VaeConfig
from graphs.examples import example
from graphs.program import Step

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
STEPS = 20
SAMPLER = "3"


@dataclass(frozen=True)
class Case:
    """limit_s, comfyui_s: seconds a picture of batch 1: the aim, and ComfyUI's on an H200."""

    family: Family
    configs: Mapping[str, Any]
    side: int
    limit_s: float
    comfyui_s: float


CASES = {
    "sd15": Case(SD1, {"unet": UNetConfig(), "vae": VaeConfig(), "clip_l": TextConfig()}, 512, 0.125, 0.597),
    "sdxl": Case(
        SDXL,
        {
            "unet": UNetConfig(
                widths=(320, 640, 1280), res_blocks=(2, 2, 2), depths=(0, 2, 10), middle_depth=10, context_width=2048,
                heads=None, linear_projection=True, vector_width=2816,
            ),
            "vae": VaeConfig(),
            "clip_l": TextConfig(),
            "clip_g": TextConfig(width=1280, layers=32, inner=5120, activation="gelu", projection=1280),
        },
        1024, 0.62, 1.082,
    ),
}  # fmt: skip
# name -> options of `comfyc compile`
PLANS = {
    "eager-fp32": ("--backend", "eager", "--device", "cuda", "--precision", "fp32"),
    "inductor": ("--backend", "inductor"),
    "eager-fp16": ("--backend", "eager", "--device", "cuda", "--precision", "fp16"),
}


def write_checkpoint(case: Case, path: Path) -> None:
    """Full size, drawn on the GPU: the counter-based draws of synthetic take minutes for SDXL."""
    import torch

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
        generator = torch.Generator("cuda").manual_seed(zlib.crc32(name.encode()))
        drawn = torch.randn(math.prod(shape), generator=generator, device="cuda")
        return drawn.cpu().numpy().reshape(shape)

    synthetic.write_family(path, case.family, case.configs, draw=draw)


def compiled(workflow: Path, plan: Path, options: tuple[str, ...], side: int, folder: Path) -> float:
    """Seconds that compiling took."""
    command = [sys.executable, "-m", "comfyc", "compile", str(workflow), "-o", str(plan), *options]
    began = time.time()
    subprocess.run(
        [*command, "--size", f"{side}x{side}", "--batch", "1", "--models", str(folder / "models")], check=True,
        cwd=ROOT, env=_environment(folder), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.time() - began


def drawn(plan: Path, runs: int, folder: Path) -> Row:
    """A fresh process's report; see work."""
    environment = {**_environment(folder), "BENCH_STARTED": str(time.time())}
    command = [sys.executable, "-m", "benchmarks.bench_gpu", "--worker", str(plan), "--runs", str(runs)]
    done = subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "COMFYC_CACHE": str(folder / "store"), "PYTHONPATH": str(ROOT)}


def work(plan: Path, runs: int) -> Row:
    """In a process of its own: opens a plan, draws, and says how long each part took, in seconds of the wall clock.

    picture_s: from the request to the pixels on the GPU; with_png_s: to the PNG on disk."""
    started = float(os.environ["BENCH_STARTED"])
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)  # says how long each engine took to load
    import torch

    from runtime.session import Session
    from runtime.store import Store

    imported = time.time()
    output = plan.parent / f"out-{plan.stem}"
    pixels: list[float] = []

    def before(step: Step) -> None:
        if step.op == "save_image":
            torch.cuda.synchronize()
            pixels.append(time.time())

    with Session.open(plan, store=Store()) as session:
        opened = time.time()
        rows: list[Row] = []
        for turn in range(runs + 1):
            begin = time.time()
            result = session.run({f"{SAMPLER}.seed": 42 + turn}, output_dir=output, on_step=before)
            ended = time.time()
            rows.append({
                "run_s": ended - begin, "picture_s": pixels[-1] - begin, "ms": dict(result.step_ms),
                "load_s": result.seconds["load"],
            })  # fmt: skip
    warm = sorted(rows[1:], key=lambda row: float(row["run_s"]))
    usual = warm[len(warm) // 2]
    return {
        "import_s": imported - started,
        "open_s": opened - imported,
        "load_s": rows[0]["load_s"],
        "first_run_s": rows[0]["run_s"],
        "start_to_first_picture_s": opened - started + rows[0]["run_s"],
        "picture_s": median(row["picture_s"] for row in warm),
        "picture_s_least": min(row["picture_s"] for row in warm),
        "with_png_s": median(row["run_s"] for row in warm),
        "phases_ms": {name: ms for name, ms in usual["ms"].items() if ms > 0.1},
        "peak_vram_gib": torch.cuda.max_memory_allocated() / 2**30,
        "reserved_vram_gib": torch.cuda.max_memory_reserved() / 2**30,
        "picture": str(result.files[0].path),
    }


def distance(picture: Path, reference: Path) -> Row:
    """psnr_db over 8-bit pixels, and the largest difference of one."""
    from PIL import Image

    a, b = (np.asarray(Image.open(p).convert("RGB"), np.float64) for p in (picture, reference))
    error = float(np.mean((a - b) ** 2))
    return {
        "psnr_db": 10 * math.log10(255**2 / error) if error else math.inf,
        "largest": float(np.abs(a - b).max()),
        "std": float(b.std()),
    }


def measure(name: str, case: Case, plans: tuple[str, ...], runs: int, folder: Path) -> list[Row]:
    models = folder / "models" / "checkpoints"
    models.mkdir(parents=True, exist_ok=True)
    began = time.time()
    write_checkpoint(case, models / f"{name}.safetensors")
    print(f"{name}: checkpoint written in {time.time() - began:.1f} s", flush=True)
    workflow = folder / f"{name}.json"
    prompt = json.loads(example("default", api=True).read_text("utf-8"))
    prompt["4"]["inputs"]["ckpt_name"] = f"{name}.safetensors"
    prompt["5"]["inputs"].update(width=case.side, height=case.side)
    prompt[SAMPLER]["inputs"].update(steps=STEPS, sampler_name="euler", scheduler="normal", cfg=7.0)
    workflow.write_text(json.dumps(prompt), "utf-8")
    rows: list[Row] = []
    for plan in plans:
        row: Row = {"case": name, "plan": plan, "side": case.side, "steps": STEPS, "batch": 1}
        path = folder / f"{name}-{plan}.plan"
        try:
            row["compile_s"] = compiled(workflow, path, PLANS[plan], case.side, folder)
            print(f"{name} {plan}: compiled in {row['compile_s']:.1f} s", flush=True)
            row |= drawn(path, runs, folder)
        except subprocess.CalledProcessError as error:
            rows.append(row | {"failed": str(error)})
            print(f"{name} {plan}: failed", flush=True)
            continue
        row |= {"of_limit": row["picture_s"] / case.limit_s, "of_comfyui": row["picture_s"] / case.comfyui_s}
        if rows and "picture" in rows[0]:
            row["distance"] = distance(Path(row["picture"]), Path(rows[0]["picture"]))
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="sd15,sdxl")
    parser.add_argument("--plans", default=",".join(PLANS))
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", type=Path)
    given = parser.parse_args(argv)
    if given.worker is not None:
        print(json.dumps(work(given.worker, given.runs)))
        return 0
    import torch

    report: Row = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": []}
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.cases.split(","):
            report["rows"] += measure(name, CASES[name], tuple(given.plans.split(",")), given.runs, Path(temporary))
            if given.json is not None:
                given.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
