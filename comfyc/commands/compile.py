"""comfyc compile WORKFLOW -o PLAN"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
)


@click.command("compile")
@click.argument("workflow", type=FILE)
@click.option("-o", "--output", type=FILE, help="The plan folder to write. Default: WORKFLOW.plan here.")
@models_option
@compile_options
@click.option(
    "--dump-passes",
    "dump",
    type=DIRECTORY,
    help="Write what each pass made of the workflow here, a text file a pass.",
)
@set_option
@object_info_option
@json_option
@loudness_options
def command(
    workflow: Path,
    output: Path | None,
    models: tuple[Path, ...],
    settings: tuple[tuple[str, str], ...],
    object_info: Path | None,
    dump: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Compile a workflow into a plan: a folder that `comfyc run` opens.

    Widgets stay parameters of the plan (`comfyc run PLAN --set 6.text=...`), unless --freeze fixes them; --set changes
    the workflow before it is compiled. Engines and weights go to the store and are shared by plans.
    """
    from comfyc.building import compile_into, options_of, writable_plan_dir
    from comfyc.progress import Bars
    from comfyc.settings import set_in_workflow
    from comfyc.sources import folders_of, read_graph, schemas_of
    from comfyc.wording import seconds_text
    from runtime.store import Store

    options = options_of(**chosen)
    plan_dir = writable_plan_dir(output if output is not None else Path(f"{workflow.stem}.plan"))
    schemas = schemas_of(object_info)
    graph = set_in_workflow(read_graph(workflow, schemas), settings, schemas)
    began = time.perf_counter()
    with Bars() as bars:
        result = compile_into(graph, plan_dir, options, folders_of(models), Store(), schemas, bars.report, dump)
    seconds = time.perf_counter() - began
    plan = result.plan
    if as_json:
        answer = {
            "plan": str(plan_dir),
            "backend": plan.backend,
            "device": plan.device,
            "seconds": round(seconds, 3),
            "made": asdict(result.counts),
            "networks": sorted(plan.bindings),
            "parameters": sorted(plan.program.parameters),
        }
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(plan_dir)
    click.echo(f"compiled for {plan.backend} on {plan.device} in {seconds_text(seconds)}", err=True)
