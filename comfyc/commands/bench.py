"""comfyc bench PLAN|WORKFLOW"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from comfyc.options import (
    DIRECTORY,
    FILE,
    compile_options,
    loudness_options,
    models_option,
    object_info_option,
    set_option,
    trust_option,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfyc.measuring import Measurement
    from comfyc.running import Opened


@click.command("bench")
@click.argument("what", type=FILE, metavar="PLAN|WORKFLOW")
@set_option
@models_option
@click.option("-i", "--input", "input_dir", type=DIRECTORY, help="Where LoadImage and LoadLatent look.")
@click.option(
    "-o", "--output", "output_dir", type=DIRECTORY, default=Path("output"), show_default=True, help="Where pictures go."
)
@click.option("--repeat", type=click.IntRange(1, 1_000_000), default=10, show_default=True, help="Runs to measure.")
@click.option(
    "--warmup", type=click.IntRange(0, 1_000_000), default=1, show_default=True,
    help="Runs after the first picture that are not measured.",
)
@click.option("--reference", type=FILE, help="A picture to compare with: PSNR and the largest difference.")
@click.option("--json", "json_file", type=FILE, help="Write the figures here as well.")
@compile_options
@trust_option
@object_info_option
@loudness_options
def command(
    what: Path, settings: tuple[tuple[str, str], ...], models: tuple[Path, ...], input_dir: Path | None,
    output_dir: Path, repeat: int, warmup: int, reference: Path | None, json_file: Path | None,
    object_info: Path | None, trust: bool, **chosen: Any,
) -> None:
    """Measure a plan or a workflow: seconds a picture, phases, first picture, memory.

    --size and --batch say what is drawn, the larger ones of ranges; a workflow is compiled for them. On a GPU each step
    waits for the one before it, so that phases are true.
    """
    from comfyc.measuring import distance, measure
    from comfyc.progress import Bars
    from graphs.errors import UsageError

    if reference is not None and not reference.is_file():
        raise UsageError("there is no such picture", where=str(reference))
    began = time.perf_counter()
    with Bars() as bars:
        opened = _opened(what, settings, models, input_dir, object_info, chosen, bars, trust)
        ready = time.perf_counter()
        with opened:
            found = measure(opened, ready - began, output_dir, repeat=repeat, warmup=warmup, progress=bars.report)
    far = None if reference is None else distance(_picture(found), reference)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(found, far), indent=1) + "\n", "utf-8")
    click.echo("\n".join(lines(found, far)))


def _opened(
    what: Path, settings: tuple[tuple[str, str], ...], models: tuple[Path, ...], input_dir: Path | None,
    object_info: Path | None, chosen: dict[str, Any], bars: Any, trust: bool,
) -> Opened:  # fmt: skip
    """The open plan, its parameters set to what --size and --batch ask for."""
    from comfyc.measuring import sized
    from comfyc.running import open_plan, open_workflow, refuse_compile_options
    from comfyc.sources import plan_folder

    plan_dir = plan_folder(what)
    if plan_dir is not None:
        refuse_compile_options(click.get_current_context(), allowed=("batch", "size"))
        opened = open_plan(plan_dir, settings, models, input_dir, trust=trust)
    else:
        opened = open_workflow(what, settings, models, input_dir, object_info, chosen, bars.report)
    size, batch = chosen["size"], chosen["batch"]
    width, height = (size.width[1], size.height[1]) if size is not None else (None, None)
    sizes = sized(opened.session.plan.program, width, height, batch[1] if batch is not None else None)
    opened.params = {**sizes, **opened.params}
    return opened


def _picture(found: Measurement) -> Path:
    from graphs.errors import UsageError

    pictures = found.runs[-1].pictures
    if len(pictures) != 1:
        raise UsageError("--reference is for runs that make one picture", got=f"{len(pictures)}")
    return pictures[0]


def as_json(found: Measurement, far: Mapping[str, float] | None) -> dict[str, Any]:
    """Seconds, bytes; distance.psnr_db null for equal pictures."""
    import torch

    from comfyc.measuring import PHASES

    return {
        "plan": found.plan, "backend": found.backend, "device": found.device, "torch": torch.__version__,
        "runs": len(found.runs), "images_per_run": found.images,
        "per_image_s": {name: found.per_image(share) for name, share in SHARES.items()},
        "images_per_s": found.images_per_s, "step_ms": found.step_ms,
        "phases_s": {name: found.phase(name) for name in PHASES},
        "open_s": found.open_s, "first_picture_s": found.first_picture_s, "first_phases_s": dict(found.first.phases),
        "peak_host_bytes": found.peak_host_bytes, "peak_device_bytes": found.peak_device_bytes,
        "params": dict(found.params),
        "distance": None if far is None else {k: v if v != float("inf") else None for k, v in far.items()},
    }  # fmt: skip


SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def lines(found: Measurement, far: Mapping[str, float] | None) -> list[str]:
    """The figures for people."""
    from comfyc.measuring import PHASES
    from comfyc.wording import bytes_text, count_text, seconds_text

    shares = ", ".join(f"{name} {seconds_text(found.per_image(share))}" for name, share in SHARES.items())
    phases = ", ".join(f"{name} {seconds_text(s)}" for name in PHASES if (s := found.phase(name)) > 0.0005)
    first = ", ".join(f"{name} {seconds_text(s)}" for name, s in found.first.phases.items() if s > 0.0005)
    memory = [f"{bytes_text(size)} {where}" for where, size in (
        ("of this process", found.peak_host_bytes), ("on the GPU", found.peak_device_bytes)
    ) if size is not None]  # fmt: skip
    told = [
        f"{found.backend} on {found.device}, {count_text(len(found.runs), 'run')}"
        f" of {count_text(found.images, 'picture')}",
        f"a picture      {shares}; {found.images_per_s:.3g} a second",
    ]
    if found.step_ms is not None:
        told.append(f"a step         {found.step_ms:.2f} ms")
    told += [
        f"phases         {phases}",
        f"first picture  {seconds_text(found.first_picture_s)}: open {seconds_text(found.open_s)}, {first}",
        f"peak memory    {', '.join(memory) or 'not known on this system'}",
    ]
    if far is not None:
        told.append(f"distance       {far['psnr_db']:.1f} dB, at most {far['largest']:.0f} of 255")
    return told
