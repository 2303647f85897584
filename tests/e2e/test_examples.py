from __future__ import annotations

from pathlib import Path

import pytest

from graphs.examples import NAMES, example
from tests.e2e.commands import comfyc


@pytest.mark.parametrize("name", NAMES)
def test_examples_that_ship_check_without_a_word(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMFYC_MODELS", raising=False)
    result = comfyc("check", example(name))
    assert result.stdout == f"{example(name)}: ok\n"
    assert result.exit_code == 0


def test_every_example_file_has_a_name() -> None:
    assert {p.stem for p in example("default").parent.glob("*.json")} == set(NAMES)
    with pytest.raises(KeyError, match="default"):
        example("defualt")
