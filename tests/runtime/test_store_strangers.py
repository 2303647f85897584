"""The store among strangers: files that are not its own stay, and what cannot be read is not damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphs.errors import StoreError
from runtime.store import Store, key_of
from runtime.store_settings import default_root

KEYS = [key_of("engine", str(number)) for number in range(20)]
STRAYS = (".DS_Store", ".nfs0000000000001", "Thumbs.db", "desktop.ini", "copy of x", "notes.json", "a.json", "b" * 8)
HOSTILE = Path(__file__).parents[2] / "../shared/reference/cases/hostile/store"


def filled(root: Path) -> Store:
    store = Store(root)
    for key in KEYS:
        store.put(key, b"content of " + key.encode())
    return store


def refuse(number: int) -> Callable[..., Any]:
    def open_file(path: Path, *rest: object, **options: object) -> Any:
        raise OSError(number, os.strerror(number), str(path))

    return open_file


@pytest.mark.parametrize("number", [13, 24, 5, 40])  # EACCES, EMFILE, EIO, ELOOP
def test_what_cannot_be_read_for_a_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = filled(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", refuse(number))
        for key in KEYS:
            with pytest.raises(StoreError, match="cannot be read"):
                store.get(key)
    with monkeypatch.context() as broken:
        broken.setattr("runtime.store_entries.file_sha256", refuse(number))
        with pytest.raises(StoreError, match="20 files of the store cannot be read"):
            store.verify()
        path = tmp_path / "entries" / KEYS[0]
        os.utime(path, ns=(1, 1))  # so that reading hashes it
        with pytest.raises(StoreError, match="cannot be read"):
            store.get(KEYS[0])
    assert len(store.ls()) == 20
    assert store.verify() == ()
    assert all(store.get(key) is not None for key in KEYS)


def test_no_free_file_descriptor_deletes_nothing(tmp_path: Path) -> None:
    """A real one: the process may open no more files."""
    filled(tmp_path)
    code = (
        "import os, resource, sys; from pathlib import Path; from graphs.errors import StoreError\n"
        "from runtime.store import Store\n"
        f"store, keys = Store(Path({str(tmp_path)!r})), {KEYS!r}\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open(os.devnull, os.O_RDONLY))\n"
        "except OSError: pass\n"
        "for key in keys:\n"
        "    try: store.get(key); sys.exit('read without a descriptor')\n"
        "    except StoreError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(Store(tmp_path).ls()) == 20


def test_stray_files_are_left_alone(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for folder in ("entries", "temp"):
        for name in STRAYS:
            (tmp_path / folder / name).write_bytes(b"somebody's")
        (tmp_path / folder / "lost+found").mkdir()
        (tmp_path / folder / f"{KEYS[0]}~1-1").mkdir()
    (tmp_path / "entries" / "folder.json").mkdir()
    store.put(key_of("engine", "new"), b"new")
    assert len(store.ls()) == 21
    assert store.verify() == ()
    assert store.get(KEYS[0]) is not None
    store.prune(0)
    assert store.ls() == ()
    for folder in ("entries", "temp"):
        left = {p.name for p in (tmp_path / folder).iterdir()}
        assert set(STRAYS) | {"lost+found"} <= left


@pytest.mark.parametrize(
    "record",
    [
        b"[" * 100_000,
        b'{"sha256": "x", "size_bytes": Infinity, "mtime_ns": 1}',
        b'{"sha256": "x", "size_bytes": -1, "mtime_ns": 1}',
        b"\xff\xfe",
        b"0" * (1 << 20),
        json.dumps({"sha256": "0" * 64, "size_bytes": "many", "mtime_ns": 0}).encode(),
    ],
)
def test_records_that_are_none(tmp_path: Path, record: bytes) -> None:
    store = filled(tmp_path)
    (tmp_path / "entries" / f"{KEYS[0]}.json").write_bytes(record)
    assert store.get(KEYS[0]) is None
    assert len(store.ls()) == 19


def test_what_cannot_be_removed_is_not_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(tmp_path)
    (tmp_path / "entries" / f"{KEYS[0]}.json").write_bytes(b"{")
    path = tmp_path / "entries" / KEYS[0]
    path.unlink()
    path.mkdir()  # cannot be unlinked
    assert store.get(KEYS[0]) is None
    assert "cannot be removed" in caplog.text


@pytest.mark.parametrize("value", ["inf", "-5", "nan", "1e300", "forty"])
def test_bounds_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("COMFYC_CACHE_MAX_GB", value)
    with pytest.raises(StoreError, match="COMFYC_CACHE_MAX_GB is not a size"):
        Store(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="paths of bytes")
def test_folders_that_cannot_be_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYC_CACHE", os.fsdecode(b"/tmp/caf\xe9"))
    with pytest.raises(StoreError, match="not UTF-8"):
        default_root()
    monkeypatch.setenv("COMFYC_CACHE", "~nobody-of-that-name/cache")
    with pytest.raises(StoreError, match="home folder cannot be found"):
        default_root()
    monkeypatch.delenv("COMFYC_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: f"~/.cache/{name}")  # no HOME, no such user
    with pytest.raises(StoreError, match="COMFYC_CACHE"):
        default_root()
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("COMFYC_CACHE", str(tmp_path / "file"))
    assert Store().ls() == ()
    assert Store().get(KEYS[0]) is None
    with pytest.raises(StoreError, match="cannot write"):
        Store().put(KEYS[0], b"x")


def test_records_of_the_cases(tmp_path: Path) -> None:
    cases = sorted(HOSTILE.glob("*"))
    if not cases:
        pytest.skip(f"the cases are not here: {HOSTILE}")
    for case in cases:
        store = filled(tmp_path / case.stem)
        (store.root / "entries" / f"{KEYS[3]}.json").write_bytes(case.read_bytes().partition(b"\n--data--")[0])
        store.get(KEYS[3])
        store.prune(100)
