"""What a run would stumble over late is found before its first step."""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path

import pytest

from graphs.errors import RunError
from graphs.operands import Literal, Param, Ref
from graphs.program import Step
from runtime.files import check_save, find_file, save_name
from runtime.preflight import preflight


def run(tmp_path: Path, *steps: Step, output: str = "output", **params: str) -> None:
    folders = {"input_dir": tmp_path / "input", "output_dir": tmp_path / output, "temp_dir": tmp_path / "temp"}
    preflight(steps, params, **folders)


def save() -> Step:
    return Step("s", "save_image", {"image_u8": Ref("i"), "filename_prefix": Param("p")}, outputs=("f",), nodes=("9",))


def load(name: str) -> Step:
    return Step("l", "load_image", {"file": Literal(name)}, outputs=("i", "m"), nodes=("1",))


def test_nothing_is_made_and_nothing_refused_where_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "a.png").write_bytes(b"x")
    run(tmp_path, load("a.png"), save(), p="sub/%date%/x_%width%")
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("../../x", "lies outside"),
        ("/etc/x", "lies outside"),
        ("x" * 300, "too long"),
        ("sub/" + "é" * 130, "too long"),
        ("\ud800", "no name for a file"),
        ("nul\0", "lies outside"),
    ],
)
def test_prefixes_that_cannot_be_saved_under(tmp_path: Path, prefix: str, message: str) -> None:
    with pytest.raises(RunError, match=rf"node 9: .*{message}"):
        run(tmp_path, save(), p=prefix)
    with pytest.raises(RunError, match=message):
        save_name(prefix, tmp_path, width=1, height=1, where="node 9")


def test_folders_that_cannot_be_made_or_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"cannot make the folder .*file is a file"):
        run(tmp_path, save(), output="file/out", p="x")
    (tmp_path / "temp").write_text("x")
    with pytest.raises(RunError, match=r"cannot make the folder .*temp"):
        run(tmp_path, Step("p", "preview_image", {"image_u8": Ref("i")}, outputs=("f",)))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if not os.access(locked, os.W_OK):  # root may write anywhere
        with pytest.raises(RunError, match="cannot write to the folder"):
            check_save("x", locked, where="node 9")


def test_input_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "input"
    accents = unicodedata.normalize("NFD", "modèle.png")
    for name in ("photo.png", "sub/deep.png", "clipspace/clipspace-mask-7.png", accents):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")

    def find(name: str) -> Path:
        return find_file(name, input_dir=folder, output_dir=tmp_path, temp_dir=tmp_path, where="node 1")

    with caplog.at_level(logging.WARNING):
        assert find("photo.png [input]") == folder / "photo.png"
        assert find("clipspace/clipspace-mask-7.png [input]") == folder / "clipspace/clipspace-mask-7.png"
        assert caplog.records == []
        assert find("PHOTO.png") == folder / "photo.png"
        assert find("deep.png") == folder / "sub/deep.png"
        assert find(unicodedata.normalize("NFC", "modèle.png")) == folder / accents
    assert len(caplog.records) == 3
    for name in ("gone.png", "x" * 5000, "\ud800.png", "a/" * 3000):
        with pytest.raises(RunError, match="is not in"):
            run(tmp_path, load(name))


def test_a_name_that_another_step_computes_is_left_to_the_run(tmp_path: Path) -> None:
    run(tmp_path, Step("l", "load_image", {"file": Ref("computed")}, outputs=("i", "m")))
