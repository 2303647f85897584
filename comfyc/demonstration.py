"""What `comfyc demo` does: a synthetic checkpoint, the default workflow, one picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfyc.wording import bytes_text, count_text, seconds_text

if TYPE_CHECKING:
    from runtime.backends.backend import Progress

CHECKPOINT = "synthetic_sd15_narrow.safetensors"
SMALL = (("5.width", "256"), ("5.height", "256"))  # so that it takes seconds on two cores
LOADER = "4"  # the CheckpointLoaderSimple of graphs/examples/default.json


@dataclass(frozen=True)
class Shown:
    """What there is to look at. seconds: by phase: write, compile, open, load, run."""

    checkpoint: Path
    plan_dir: Path
    pictures: tuple[Path, ...]
    seconds: dict[str, float]


def demonstrate(
    output_dir: Path,
    backend: str,
    settings: Sequence[tuple[str, str]],
    progress: Progress,
    say: Callable[[str], None],
) -> Shown:
    """Writes, compiles, runs. say: one line a phase, for people. Raises what compiling and running raise."""
    from comfyc.running import open_workflow, run_once
    from compiler.synthetic import write_checkpoint
    from graphs.examples import example
    from runtime.store import default_root

    models = default_root() / "demo-models"
    checkpoint = models / "checkpoints" / CHECKPOINT
    began = time.perf_counter()
    if not checkpoint.is_file():
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint)
    wrote = time.perf_counter()
    size = bytes_text(checkpoint.stat().st_size)
    say(f"checkpoint  {seconds_text(wrote - began):>8}  {checkpoint} ({size}, narrow SD1.5, synthetic weights)")
    chosen = {"backend": backend, "precision": "auto"}
    everything = [(f"{LOADER}.ckpt_name", CHECKPOINT), *SMALL, *settings]
    with open_workflow(example("default"), everything, [models], None, None, chosen, progress) as opened:
        ready = time.perf_counter()
        plan = opened.session.plan
        networks = ", ".join(sorted({use.kind for use in plan.program.networks.values()}))
        steps = count_text(len(plan.program.steps), "step")
        say(f"compile     {seconds_text(ready - wrote):>8}  {opened.plan_dir}")
        say(f"                      {steps}, networks {networks}, on {plan.backend}")
        result = run_once(opened, output_dir, progress)
        plan_dir = opened.plan_dir
    steps = result.params.get("3.steps", "?")
    say(f"load        {seconds_text(result.seconds['load']):>8}  engines and weights")
    size = f"{result.params.get('5.width', '?')}x{result.params.get('5.height', '?')}"
    say(f"run         {seconds_text(result.seconds['run']):>8}  {steps} sampling steps and the decode, {size}")
    seconds = {"write": wrote - began, "compile": ready - wrote, **result.seconds}
    pictures = tuple(Path(f.path).resolve() for f in result.files if f.kind == "images")
    return Shown(checkpoint, plan_dir, pictures, {k: round(v, 3) for k, v in seconds.items()})
