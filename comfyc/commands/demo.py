"""comfyc demo"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from comfyc.options import DIRECTORY, json_option, loudness_options, set_option


@click.command("demo")
@click.argument("text", required=False)
@click.option(
    "-o",
    "--output",
    "output_dir",
    type=DIRECTORY,
    default=Path("output"),
    show_default=True,
    help="Where the pictures go.",
)
@click.option("--backend", type=click.Choice(("auto", "onnxruntime", "eager")), default="auto", show_default=True)
@set_option
@json_option
@loudness_options
def command(
    text: str | None, output_dir: Path, backend: str, settings: tuple[tuple[str, str], ...], as_json: bool
) -> None:
    """Draw with the small model that ships with comfyc.

    With TEXT, that picture: comfyc demo "two red circles on a blue background". Without, a contact sheet: six captions,
    then image to image, inpainting, a LoRA, a ControlNet, a second checkpoint and a textual inversion.

    The model is our own, a narrow Stable Diffusion trained on drawings of coloured shapes: circle, square, triangle,
    star, heart, cross; up to five of them; small or large; striped, dotted or smiling; left of, right of, above or
    below another. It knows nothing else.
    """
    from comfyc.demonstration import demonstrate
    from comfyc.progress import Bars
    from comfyc.wording import seconds_text

    def say(line: str) -> None:
        if not as_json:
            click.echo(line, err=True)

    began = time.perf_counter()
    with Bars() as bars:
        shown = demonstrate(output_dir, backend, text, settings, bars.report, say)
    if as_json:
        found = {
            "models": str(shown.models),
            "seconds": dict(shown.seconds),
            "pictures": [str(p) for p in shown.pictures],
            "sheet": str(shown.sheet) if shown.sheet else None,
        }
        click.echo(json.dumps(found, indent=2))
        return
    first = shown.seconds["ready"] + shown.seconds["draw"]
    say(f"first picture after {seconds_text(first)}, all of it in {seconds_text(time.perf_counter() - began)}:")
    for picture in (shown.sheet,) if shown.sheet else shown.pictures:
        click.echo(picture)
