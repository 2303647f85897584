"""comfyc models list"""

from __future__ import annotations

import json
from pathlib import Path

import click

from comfyc.options import json_option, loudness_options, models_option


@click.group(short_help="Model files.")
def command() -> None:
    """The model files that workflows can name."""


@command.command("list")
@click.argument("kind", required=False)
@models_option
@json_option
@loudness_options
def list_models(kind: str | None, models: tuple[Path, ...], as_json: bool) -> None:
    """List model files by kind, as widgets write their names.

    KIND is a folder name such as checkpoints, loras, vae, embeddings; without it, every kind that has files.
    """
    from comfyc.sources import folders_of
    from graphs.errors import UsageError
    from runtime.model_kinds import kind_of

    folders = folders_of(models)
    if not folders.roots:
        raise UsageError("there are no model folders", hint="give --models DIR, set COMFYC_MODELS or make ./models")
    if kind is not None and kind_of(kind) not in folders.kinds:
        raise UsageError(f"there is no kind of model '{kind}'", expected=", ".join(folders.kinds))
    kinds = (kind_of(kind),) if kind else folders.kinds
    found = {k: folders.list(k) for k in kinds}
    if as_json:
        listed = {k: [{"name": n, **_described(folders.find(k, n))} for n in names] for k, names in found.items()}
        click.echo(json.dumps({"roots": [str(r) for r in folders.roots], "models": listed}, indent=2))
        return
    for name, files in found.items():
        if files or kind:
            click.echo(f"{name} ({len(files)})")
        for file in files:
            click.echo(f"  {_size_text(folders.find(name, file).stat().st_size):>9}  {file}")
    if not any(found.values()):
        click.echo(f"no model files in {', '.join(str(r) for r in folders.roots)}", err=True)


def _described(path: Path) -> dict[str, str | int]:
    return {"path": str(path), "size_bytes": path.stat().st_size}


def _size_text(size_bytes: int) -> str:
    from comfyc.wording import bytes_text

    return bytes_text(size_bytes)
