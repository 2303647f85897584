"""comfyc convert WORKFLOW"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from comfyc.options import FILE, loudness_options, object_info_option


@click.command("convert")
@click.argument("workflow", type=FILE)
@click.option("-o", "--output", type=FILE, help="Write to this file instead of stdout.")
@object_info_option
@loudness_options
def command(workflow: Path, output: Path | None, object_info: Path | None) -> None:
    """Turn a workflow (UI or API JSON, or a PNG/WebP picture that carries one) into API JSON.

    What ComfyUI's frontend does on "Export (API)", without a browser or a server.
    """
    from comfyc.sources import read_graph, schemas_of
    from graphs.errors import UsageError
    from graphs.workflow import to_api

    graph = read_graph(workflow, schemas_of(object_info))
    encoding = "utf-8" if output is not None else (getattr(sys.stdout, "encoding", None) or "utf-8")
    text = _json(to_api(graph), encoding)
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(output)) from error


def _json(value: object, encoding: str) -> str:
    """As people read it where the encoding has all of its characters, else with escapes, which mean the same."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeError:
        return json.dumps(value, indent=2)
    return text
