"""Runs `comfyc` in this process, as the tests of the command line want it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from comfyc.cli import cli

REPOSITORY = Path(__file__).parents[2]
GOLDENS = REPOSITORY / "tests" / "parity" / "data" / "goldens"
DEFAULT = GOLDENS / "default_64_steps20" / "workflow.json"


def comfyc(*args: str | Path) -> Result:
    """stdout and stderr apart; an exception that is not an exit is a bug and is raised here."""
    result = CliRunner().invoke(cli, [str(a) for a in args], prog_name="comfyc")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
