"""comfyc doctor"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfyc.options import json_option, loudness_options, models_option

if TYPE_CHECKING:
    from comfyc.diagnosis import Finding

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor")
@models_option
@json_option
@loudness_options
def command(models: tuple[Path, ...], as_json: bool) -> None:
    """Check this machine: Python, torch, backends, devices, CPU, memory, disk, model folders, store.

    Each finding is ok, warn (works, could be better) or fail, with what to do. Exit code 5 only when no backend
    can run anything here.
    """
    from comfyc import diagnosis
    from comfyc.store_health import store_findings

    findings = [
        *diagnosis.python_findings(),
        *diagnosis.torch_findings(),
        *diagnosis.onnxruntime_findings(),
        *diagnosis.tensorrt_findings(),
        *diagnosis.backend_findings(),
        *diagnosis.machine_findings(),
        *diagnosis.folder_findings(models),
        *store_findings(),
    ]
    runnable = _can_run(findings)
    if as_json:
        click.echo(json.dumps({"ok": runnable, "findings": [asdict(f) for f in findings]}, indent=2))
    else:
        _print(findings)
    if not runnable:
        click.echo("error: nothing can run here: neither torch nor onnxruntime works", err=True)
        raise click.exceptions.Exit(5)


def _can_run(findings: list[Finding]) -> bool:
    """torch moves every tensor, so nothing runs without it; Python must be new enough."""
    return not any(f.status == "fail" and f.name in ("python", "torch") for f in findings)


def _print(findings: list[Finding]) -> None:
    width = max(len(f.name) for f in findings)
    for finding in findings:
        mark = click.style(f"{finding.status:<4}", fg=COLOURS[finding.status])
        click.echo(f"{mark}  {finding.name:<{width}}  {finding.detail}")
        if finding.hint:
            click.echo(f"      {'':<{width}}  -> {finding.hint}")
