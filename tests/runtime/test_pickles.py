"""Pickles and textual inversions of strangers: nothing runs, nothing grows, and torch's advice is not passed on."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from graphs.errors import CheckpointError
from runtime.pickles import NotPlainError, load_plain
from runtime.text.embeddings import MAX_NUMBERS, find_embedding, load_embedding

HOSTILE = Path(__file__).parents[2] / "../shared/reference/cases/hostile/pickles"
PAGE = b"<!DOCTYPE html><html><body>Please sign in.</body></html>" * 20
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"
ADVICE = ("weights_only", "arbitrary code", "trust", "add_safe_globals")


class Code:
    """Unpickled by an ordinary unpickler, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, (str(self.path),))


def test_what_was_given_the_wrong_name_is_named(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "s.pt")
    cases = {"page.pt": PAGE, "pointer.pt": POINTER, "empty.pt": b"", "noise.pt": os.urandom(500)}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
    words = {"page": "web page", "pointer": "Git LFS", "empty": "empty", "noise": "damaged", "s": "safetensors"}
    for name, expected in words.items():
        with pytest.raises(NotPlainError, match=expected):
            load_plain(tmp_path / f"{name}.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_not_run_and_not_recommended(tmp_path: Path, legacy: bool) -> None:
    mark, file = tmp_path / "mark", tmp_path / "a.pt"
    torch.save({"x": Code(mark)}, file, _use_new_zipfile_serialization=not legacy)
    for load in (lambda: load_plain(file), lambda: load_embedding(file, "clip_l", 768)):
        with pytest.raises((NotPlainError, CheckpointError)) as caught:
            load()
        assert "code to load (posix.mkdir)" in str(caught.value) or sys.platform == "win32"
        assert not any(word in str(caught.value) for word in ADVICE)
    assert not mark.exists()
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Code(mark)))
    with pytest.raises(NotPlainError):
        load_plain(tmp_path / "plain.pt")
    assert not mark.exists()


def test_small_files_that_grow(tmp_path: Path) -> None:
    torch.save(torch.zeros(1, 768).expand(MAX_NUMBERS, 768), tmp_path / "wide.pt")
    with pytest.raises(CheckpointError, match="too large"):
        load_embedding(tmp_path / "wide.pt", "clip_l", 768)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**20))
    with pytest.raises(NotPlainError, match="more than"):
        load_plain(tmp_path / "bomb.pt", max_bytes=2**19)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"a{suffix}")
    with pytest.raises(CheckpointError, match="no such file"):
        load_embedding(tmp_path / f"a{suffix}", "clip_l", 768)


def test_files_of_the_cases(tmp_path: Path) -> None:
    cases = sorted(HOSTILE.glob("*"))
    if not cases:
        pytest.skip(f"the cases are not here: {HOSTILE}")
    for case in cases:
        with pytest.raises(CheckpointError) as caught:
            load_embedding(case, "clip_l", 768)
        assert not any(word in str(caught.value) for word in ADVICE)


def test_an_embedding_in_a_sub_folder_is_found_by_its_bare_name(caplog: pytest.LogCaptureFixture) -> None:
    known = {name: Path(f"/e/{name}.pt") for name in ("moods/dusky", "b/bright", "a/bright", "x")}
    assert find_embedding("moods/dusky", known) == Path("/e/moods/dusky.pt")
    assert find_embedding("dusky", known) == Path("/e/moods/dusky.pt")
    assert find_embedding("dusky.pt", known) == Path("/e/moods/dusky.pt")
    assert caplog.text == ""
    assert find_embedding("bright", known) == Path("/e/a/bright.pt")
    assert "there is 'a/bright' and 'b/bright'" in caplog.text
    assert find_embedding("usky", known) is None
    assert find_embedding("", known) is None


def test_a_dictionary_of_parameters_is_read(tmp_path: Path) -> None:
    vectors = torch.arange(6.0).reshape(2, 3)
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
    content = {"string_to_token": {"*": 265}, "string_to_param": parameters, "name": "x", "step": 5}
    torch.save(content, tmp_path / "e.pt")
    assert torch.equal(load_embedding(tmp_path / "e.pt", "clip_l", 3), vectors)
