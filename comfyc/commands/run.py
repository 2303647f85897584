"""comfyc run PLAN|WORKFLOW"""

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
    json_option,
    loudness_options,
    models_option,
    object_info_option,
    set_option,
    trust_option,
)

if TYPE_CHECKING:
    from runtime.session import RunResult


@click.command("run")
@click.argument("what", type=FILE, metavar="PLAN|WORKFLOW")
@set_option
@models_option
@click.option(
    "-i",
    "--input",
    "input_dir",
    type=DIRECTORY,
    help="Where LoadImage and LoadLatent look. Default: the ComfyUI folder's, else ./input.",
)
@click.option(
    "-o", "--output", "output_dir", type=DIRECTORY, default=Path("output"), show_default=True, help="Where pictures go."
)
@compile_options
@trust_option
@click.option(
    "--verify-weights", "verify", is_flag=True, help="Hash engines and weights before they are used."
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 1_000_000),
    default=1,
    show_default=True,
    help="Run this often with the same parameters, for timing.",
)
@object_info_option
@json_option
@loudness_options
def command(
    what: Path,
    settings: tuple[tuple[str, str], ...],
    models: tuple[Path, ...],
    input_dir: Path | None,
    output_dir: Path,
    trust: bool,
    verify: bool,
    repeat: int,
    object_info: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Run a plan, or a workflow: it is compiled on first use and kept, so that the second run starts at once.

    Prints the files it wrote, one a line.
    """
    from comfyc.progress import Bars
    from comfyc.running import open_plan, open_workflow, refuse_compile_options, run_once
    from comfyc.sources import plan_folder

    began = time.perf_counter()
    finished: list[RunResult] = []
    with Bars() as bars:
        plan_dir = plan_folder(what)
        if plan_dir is not None:
            refuse_compile_options(click.get_current_context())
            opened = open_plan(plan_dir, settings, models, input_dir, trust=trust, verify=verify)
        else:
            opened = open_workflow(
                what, settings, models, input_dir, object_info, chosen, bars.report, verify=verify
            )
        ready = time.perf_counter()
        with opened as session:
            for _ in range(repeat):
                finished.append(run_once(session, output_dir, bars.report))
                if not as_json:
                    for file in finished[-1].files:
                        click.echo(file.path)
    _report(finished, ready - began, as_json, str(opened.plan_dir))


def _report(finished: list[RunResult], open_seconds: float, as_json: bool, plan: str) -> None:
    from comfyc.wording import count_text, seconds_text

    seconds = [f.seconds["load"] + f.seconds["run"] for f in finished]
    if as_json:
        runs = [
            {
                "seconds": round(total, 4),
                "load_seconds": round(f.seconds["load"], 4),
                "step_ms": {k: round(v, 2) for k, v in f.step_ms.items()},
                "files": [{"node": s.node, "kind": s.kind, "type": s.type, "path": s.path} for s in f.files],
            }
            for f, total in zip(finished, seconds, strict=True)
        ]
        answer = {"plan": plan, "open_seconds": round(open_seconds, 4), "peak_rss_bytes": finished[-1].peak_rss_bytes}
        click.echo(json.dumps({**answer, "runs": runs}, indent=2))
        return
    text = f"{count_text(sum(len(f.files) for f in finished), 'file')} in {seconds_text(sum(seconds))}"
    if len(seconds) > 1:
        text += (
            f": {count_text(len(seconds), 'run')}, first {seconds_text(seconds[0])}, best {seconds_text(min(seconds))}"
        )
    click.echo(f"{text} (opened in {seconds_text(open_seconds)})", err=True)
