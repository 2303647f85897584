"""The command line starts at once and loads nothing heavy on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.e2e.commands import REPOSITORY

HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "networkx",
    "scipy",
    "numpy",
    "transformers",
    "PIL",
    "rich",
    "yaml",
    "compiler.checking.check",
)
HELP_SECONDS = 0.4


def test_help_takes_less_than_the_bound() -> None:
    best = min(_seconds("--help") for _ in range(5))
    assert best < HELP_SECONDS


def _seconds(*args: str) -> float:
    """Of the processor: the clock's are those of whatever else the machine does."""
    began = sum(os.times()[2:4])
    subprocess.run([sys.executable, "-m", "comfyc", *args], cwd=REPOSITORY, check=True, capture_output=True)
    return sum(os.times()[2:4]) - began


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["run", "--help"], ["compile", "--help"], ["completion", "bash"]]
)
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys, json\nfrom comfyc.command_line import cli\n"
        f"cli({args!r}, standalone_mode=False)\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded.isdisjoint(HEAVY)
    assert "comfyc.command_line" in loaded


def test_every_command_of_the_table_has_help() -> None:
    from comfyc.command_line import COMMANDS
    from tests.e2e.commands import comfyc

    for name in COMMANDS:
        result = comfyc(name, "--help")
        assert result.exit_code == 0, name
        assert f"Usage: comfyc {name}" in result.stdout


def test_importing_comfyc_loads_no_library() -> None:
    code = "import sys, comfyc; print(comfyc.__version__, 'torch' in sys.modules, callable(comfyc.compile))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    version, torch_loaded, can_compile = done.stdout.split()
    assert (torch_loaded, can_compile) == ("False", "True")
    assert version.count(".") == 2
