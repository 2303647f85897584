"""comfyc explain WORKFLOW"""

from __future__ import annotations

import json
from pathlib import Path

import click

from comfyc.options import FILE, json_option, loudness_options


@click.command("explain")
@click.argument("workflow", type=FILE)
@click.option("--object-info", type=FILE, metavar="FILE", help="A server's /object_info, for classes of node packs.")
@click.option("--pictures", type=click.Path(path_type=Path), metavar="DIR", help="Write before and after as SVG here.")
@click.option("--mermaid", is_flag=True, help="Print the graph after the passes as a Mermaid flowchart instead.")
@click.option(
    "-m", "--models", multiple=True, type=FILE, metavar="DIR",
    help="Open the model files of this folder for steps and figures of their families; repeat for more. "
    "Default: none are opened.",
)  # fmt: skip
@json_option
@loudness_options
def command(
    workflow: Path,
    object_info: Path | None,
    pictures: Path | None,
    mermaid: bool,
    models: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Show what the compiler makes of a workflow: each node's fate, each pass, the steps, the cost. Builds nothing."""
    from comfyc.sources import folders_of, read_graph, schemas_of
    from compiler.checking.check import check
    from compiler.reporting.explain import explain, to_json, to_mermaid, to_text
    from compiler.reporting.graph_picture import to_svg

    schemas = schemas_of(object_info)
    graph = check(read_graph(workflow, schemas), schemas).runnable
    folders = folders_of(models) if models else None
    find = None if folders is None else lambda file: folders.find(file.kind, file.name)
    found = explain(graph, schemas, find=find)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for name, graph in (("before", found.before), ("after", found.after)):
            (pictures / f"{name}.svg").write_text(to_svg(graph), encoding="utf-8")
            click.echo(f"wrote {pictures / name}.svg", err=True)
    if mermaid:
        click.echo(to_mermaid(found.after), nl=False)
    elif as_json:
        click.echo(json.dumps(to_json(found), indent=2, ensure_ascii=False))
    else:
        click.echo(to_text(found))
