"""The `comfyc` command: a table of commands, each loaded when it is used.

Exit codes: 0 done, 1 failed, 2 usage, 3 bad workflow, 4 model missing, 5 no device, 130 interrupted. A ComfycError
becomes one clean message on stderr; anything else is a traceback and a bug of ours.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from comfyc import __version__
from comfyc.stopping import INTERRUPTED
from graphs.errors import ComfycError

# name -> (module in comfyc.commands, one line of help). The help is here so that `comfyc --help` loads no command.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "compile": ("compile", "Compile a workflow into a plan."),
    "run": ("run", "Run a plan, or a workflow (compiled on first use)."),
    "bench": ("bench", "Measure how long a plan or a workflow takes, phase by phase."),
    "convert": ("convert", "Turn a workflow file into API JSON, on stdout."),
    "check": ("check", "Check workflows and list every problem."),
    "explain": ("explain", "Show what the compiler makes of a workflow, pass by pass."),
    "inspect": ("inspect", "Show what is in a plan."),
    "doctor": ("doctor", "Check this machine: Python, libraries, devices, model folders, store."),
    "models": ("models", "List the model files that workflows can name."),
    "cache": ("cache", "List, prune or verify the store of engines and weights."),
    "demo": ("demo", "Draw pictures with the small model that ships with comfyc."),
    "completion": ("completion", "Print the shell completion script."),
}


class Commands(click.Group):
    """The commands of the table, imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"comfyc.commands.{COMMANDS[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if not near or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ComfycError as error:
            click.echo(f"{click.style('error', fg='red', bold=True)}: {error}", err=True)
            raise click.exceptions.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "-V", "--version", prog_name="comfyc", message="%(prog)s %(version)s")
def cli() -> None:
    """comfyc compiles ComfyUI workflows ahead of time and runs them: same picture, faster.

    \b
    comfyc run workflow.json --models ~/ComfyUI      compile (once) and run
    comfyc compile workflow.json -o my.plan          make a plan
    comfyc run my.plan --set 6.text="a lighthouse"   run it with another prompt
    """
