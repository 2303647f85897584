"""comfyc check WORKFLOW..."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfyc.options import FILE, json_option, loudness_options, models_option, object_info_option, strict_option

if TYPE_CHECKING:
    from graphs.errors import Problem
    from graphs.schemas import Schemas

    Files = Mapping[str, Sequence[str]]


@click.command("check")
@click.argument("workflows", nargs=-1, required=True, type=FILE, metavar="WORKFLOW...")
@models_option
@object_info_option
@strict_option
@json_option
@loudness_options
def command(
    workflows: tuple[Path, ...], models: tuple[Path, ...], object_info: Path | None, strict: bool, as_json: bool
) -> None:
    """Check workflows: unknown nodes, missing inputs, wrong types, values out of range, missing model files.

    Model files are looked for only where there are model folders (--models, $COMFYC_MODELS or ./models).
    An output that cannot run, while others can, is left out with a warning, as in ComfyUI; --strict makes it an error.
    Exit code 3 when a workflow has errors, 4 when only model files are missing.
    """
    from comfyc.sources import folders_of, listing, schemas_of
    from compiler.checking.files import is_missing_model

    schemas = schemas_of(object_info)
    files = listing(folders_of(models))
    found = {path: _problems(path, schemas, files, strict) for path in workflows}
    errors = [p for problems in found.values() for p in problems if p.severity == "error"]
    if as_json:
        answers = [
            {
                "file": str(path),
                "ok": not any(p.severity == "error" for p in problems),
                "problems": [asdict(p) for p in problems],
            }
            for path, problems in found.items()
        ]
        click.echo(json.dumps({"ok": not errors, "files": answers}, indent=2, ensure_ascii=False))
    else:
        for path, problems in found.items():
            _print(path, problems)
    if errors:
        raise click.exceptions.Exit(4 if all(is_missing_model(p) for p in errors) else 3)


def _problems(path: Path, schemas: Schemas, files: Files | None, strict: bool) -> tuple[Problem, ...]:
    from comfyc.sources import WORKFLOW_SUFFIXES, checked_file
    from compiler.checking.check import check
    from graphs.errors import Problem, WorkflowError
    from graphs.workflow import read_workflow

    try:
        graph = read_workflow(checked_file(path, "workflow", WORKFLOW_SUFFIXES), schemas)
    except WorkflowError as error:
        return error.problems or (Problem("bad_workflow", str(error)),)
    return (*graph.warnings, *check(graph, schemas, files, strict=strict).problems)


def _print(path: Path, problems: tuple[Problem, ...]) -> None:
    from comfyc.wording import count_text

    errors = sum(p.severity == "error" for p in problems)
    warnings = sum(p.severity == "warning" for p in problems)
    counts = [count_text(n, noun) for n, noun in ((errors, "error"), (warnings, "warning")) if n]
    click.echo(f"{path}: {', '.join(counts) or 'ok'}")
    for problem in problems:
        click.echo(f"  {problem.severity}: {problem}")
