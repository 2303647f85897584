"""comfyc convert WORKFLOW"""

from __future__ import annotations

import json
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
    text = json.dumps(to_api(graph), indent=2, ensure_ascii=False)
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(output)) from error
