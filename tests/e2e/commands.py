"""Runs `comfyc` in this process, as the tests of the command line want it."""

from __future__ import annotations

import signal
from pathlib import Path

from click.testing import CliRunner, Result

from comfyc.command_line import cli

REPOSITORY = Path(__file__).parents[2]
GOLDENS = REPOSITORY / "tests" / "parity" / "data" / "goldens"
DEFAULT = GOLDENS / "default_64_steps20" / "workflow.json"


def comfyc(*args: str | Path) -> Result:
    """stdout and stderr apart; an exception that is not an exit is a bug and is raised here."""
    result = CliRunner().invoke(cli, [str(a) for a in args], prog_name="comfyc")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def hear_ctrl_c() -> None:
    """For Popen's preexec_fn: a shell that runs the tests in the background makes them, and their children, deaf."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
