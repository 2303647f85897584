"""comfyc demo"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from comfyc.options import DIRECTORY, json_option, loudness_options, set_option


@click.command("demo")
@click.option(
    "-o",
    "--output",
    "output_dir",
    type=DIRECTORY,
    default=Path("output"),
    show_default=True,
    help="Where the picture goes.",
)
@click.option("--backend", type=click.Choice(("auto", "onnxruntime", "eager")), default="auto", show_default=True)
@set_option
@json_option
@loudness_options
def command(output_dir: Path, backend: str, settings: tuple[tuple[str, str], ...], as_json: bool) -> None:
    """Compile and run the default workflow on a small checkpoint that this command writes itself.

    The checkpoint has Stable Diffusion 1.5's architecture at a fraction of its width and synthetic, untrained weights:
    everything is real but the picture, which is abstract noise.
    """
    from comfyc.demonstration import demonstrate
    from comfyc.progress import Bars
    from comfyc.wording import seconds_text

    def say(text: str) -> None:
        if not as_json:
            click.echo(text, err=True)

    began = time.perf_counter()
    with Bars() as bars:
        shown = demonstrate(output_dir, backend, settings, bars.report, say)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "checkpoint": str(shown.checkpoint),
                    "plan": str(shown.plan_dir),
                    "seconds": shown.seconds,
                    "pictures": [str(p) for p in shown.pictures],
                },
                indent=2,
            )
        )
        return
    say(
        f"all of it took {seconds_text(time.perf_counter() - began)}; the picture (abstract noise, as the weights are "
        "synthetic: a trained demo model is to come):"
    )
    for picture in shown.pictures:
        click.echo(picture)
