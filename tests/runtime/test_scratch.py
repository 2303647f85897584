"""Scratch files of the store: there while somebody has them, gone afterwards, whatever ended their process."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from graphs.errors import StoreError
from runtime.scratch import make_scratch
from runtime.store import Store

MAKE = """
import os, sys
from pathlib import Path
from runtime.scratch import make_scratch
scratch = make_scratch(Path(sys.argv[1]), 4)
scratch.path.write_bytes(b"half")
if sys.argv[2] == "killed":
    os._exit(1)
"""


def scratch_files(root: Path) -> list[Path]:
    return sorted((root / "temp").glob("*"))


def leave(root: Path, how: str) -> None:
    subprocess.run([sys.executable, "-c", MAKE, str(root), how], check=how == "ended")


def test_it_goes_when_it_is_closed_by_any_thread(tmp_path: Path) -> None:
    scratch = make_scratch(tmp_path, 4)
    scratch.path.write_bytes(b"data")
    closer = threading.Thread(target=scratch.close)
    closer.start()
    closer.join()
    assert not scratch_files(tmp_path)
    assert not list((tmp_path / "locks").iterdir())
    scratch.close()


def test_one_in_use_stays_when_the_store_is_pruned_and_others_are_made(tmp_path: Path) -> None:
    scratch = make_scratch(tmp_path, 4)
    scratch.path.write_bytes(b"data")
    Store(tmp_path).prune()
    other = make_scratch(tmp_path, 4)
    assert scratch_files(tmp_path) == [scratch.path]
    other.close()
    scratch.close()


def test_a_process_that_ends_deletes_its_own(tmp_path: Path) -> None:
    leave(tmp_path, "ended")
    assert not scratch_files(tmp_path)


@pytest.mark.parametrize("by", ["prune", "scratch"])
def test_those_of_a_killed_process_go_with_the_next(tmp_path: Path, by: str) -> None:
    leave(tmp_path, "killed")
    assert len(scratch_files(tmp_path)) == 1
    if by == "prune":
        Store(tmp_path).prune()
    else:
        make_scratch(tmp_path, 4).close()
    assert not scratch_files(tmp_path)


def test_a_full_disk_is_one_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 7, 3))
    with pytest.raises(StoreError, match="the disk of the store is full"):
        make_scratch(tmp_path, 4)
