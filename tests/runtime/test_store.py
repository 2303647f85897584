"""The store: content by key, one maker of several that ask, nothing half-written, damage found."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from graphs.errors import StoreError
from runtime.store import Entry, Sink, Store, key_of

KEY, OTHER = key_of("engine", "a"), key_of("engine", "b")


def files(store: Store) -> set[str]:
    """Everything in the store but locks."""
    return {str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file() and p.suffix != ".lock"}


def change(path: Path, content: bytes, *, keep_time: bool = False) -> None:
    stat = path.stat()
    path.write_bytes(content)
    moved = 0 if keep_time else 10**9
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + moved))


def test_what_was_put_is_found_by_another_store_object(tmp_path: Path) -> None:
    entry = Store(tmp_path).put(KEY, b"content")
    found = Store(tmp_path).get(KEY)
    assert found is not None
    assert (found.sha256, found.size_bytes, found.path) == (entry.sha256, 7, entry.path)
    assert Store(tmp_path).read_bytes(KEY) == b"content"
    assert Store(tmp_path).get(OTHER) is None


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def make(sink: Sink) -> None:
        sink.write(b"first")

    assert store.get_or_make(KEY, make)[1]
    again, made = store.get_or_make(KEY, lambda sink: pytest.fail("made again"))
    assert not made
    assert again.path.read_bytes() == b"first"
    assert store.made == 1


def test_one_of_many_threads_makes_and_the_others_get_what_it_made(tmp_path: Path) -> None:
    made, got = [], []

    def make(sink: Sink) -> None:
        time.sleep(0.05)
        made.append(1)
        sink.write(b"slow")

    def ask() -> None:
        got.append(Store(tmp_path).get_or_make(KEY, make)[0].path.read_bytes())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert got == [b"slow"] * 8


def test_keys_that_could_leave_the_folder_are_refused(tmp_path: Path) -> None:
    for key in ("../outside", "a/b", "", ".hidden", "UPPER"):
        with pytest.raises(StoreError, match="not a store key"):
            Store(tmp_path).put(key, b"")


def test_key_parts_do_not_run_into_each_other() -> None:
    assert key_of("engine", "ab", "c") != key_of("engine", "a", "bc")
    assert key_of("engine", "ab") == key_of("engine", "ab")


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def broken(sink: Sink) -> None:
        sink.write(b"half of it")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        store.get_or_make(KEY, broken)
    assert files(store) == set()
    assert store.put(KEY, b"whole").size_bytes == 5


@pytest.mark.parametrize("content", [b"short", b"changed!"])
def test_damage_is_found_on_reading_and_made_again(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    change(store.put(KEY, b"original").path, content)
    assert store.get(KEY) is None
    assert "damaged" in caplog.text
    assert files(store) == set()
    assert store.put(KEY, b"original").path.read_bytes() == b"original"


def test_a_touched_file_is_hashed_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    change(store.put(KEY, b"original").path, b"original")
    assert store.get(KEY) is not None
    assert caplog.text == ""


def test_damage_that_keeps_size_and_time_is_found_by_verify(tmp_path: Path) -> None:
    """Reading does not hash gigabytes at every start: see docs/adr/0011."""
    store = Store(tmp_path)
    store.put(OTHER, b"untouched")
    change(store.put(KEY, b"original").path, b"0riginal", keep_time=True)
    assert store.get(KEY) is not None
    assert store.verify() == (KEY,)
    assert [e.key for e in store.ls()] == [OTHER]


@pytest.mark.parametrize("record", ["", "{", "[]", '{"sha256": "x"}'])
def test_a_record_that_cannot_be_read_is_damage(record: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.put(KEY, b"original").path
    path.with_name(f"{KEY}.json").write_text(record)
    assert store.get(KEY) is None
    assert files(store) == set()


def test_a_file_that_is_gone_is_no_entry(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(KEY, b"original").path.unlink()
    assert store.get(KEY) is None
    with pytest.raises(StoreError, match="no such entry"):
        store.read_bytes(KEY)


def used(store: Store, key: str, seconds: float) -> Entry:
    entry = store.put(key, b"0123456789")
    os.utime(entry.path.with_name(f"{key}.json"), (seconds, seconds))
    return entry


def test_the_least_recently_used_go_first_and_the_newest_stays(tmp_path: Path) -> None:
    store = Store(tmp_path, max_bytes=25)
    old, older = used(store, KEY, 200), used(store, OTHER, 100)
    newest = store.put(key_of("weights", "c"), b"0123456789")
    assert {e.key for e in store.ls()} == {old.key, newest.key}
    assert not older.path.exists()
    Store(tmp_path, max_bytes=1).put(key_of("weights", "d"), b"larger than the bound")
    assert [e.size_bytes for e in store.ls()] == [21]


def test_reading_counts_as_use(tmp_path: Path) -> None:
    store = Store(tmp_path)
    used(store, KEY, 100)
    used(store, OTHER, 200)
    store.get(KEY)
    assert [e.key for e in store.prune(10)] == [OTHER]


def test_prune_removes_what_killed_processes_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(KEY, b"kept")
    (tmp_path / "temp" / f"{OTHER}~123-0").write_bytes(b"half")
    (tmp_path / "entries" / OTHER).write_bytes(b"data without a record")
    store.prune(1 << 30)
    assert files(store) == {f"entries/{KEY}", f"entries/{KEY}.json"}


def test_what_is_being_made_is_not_pruned(tmp_path: Path) -> None:
    store, other = Store(tmp_path), Store(tmp_path)

    def make(sink: Sink) -> None:
        sink.write(b"half, ")
        assert other.prune(0) == ()
        sink.write(b"whole")

    assert store.get_or_make(KEY, make)[0].path.read_bytes() == b"half, whole"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(number: int, tmp_path: Path) -> None:
    store = Store(tmp_path)

    def full(sink: Sink) -> None:
        sink.write(b"some")
        raise OSError(number, os.strerror(number))

    with pytest.raises(StoreError, match="disk of the store is full") as caught:
        store.get_or_make(KEY, full)
    assert "COMFYC_CACHE" in str(caught.value)
    assert files(store) == set()


def test_more_than_the_disk_has_is_refused_before_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="disk of the store is full"):
        Store(tmp_path).get_or_make(KEY, lambda sink: pytest.fail("started"), expected_bytes=1 << 60)


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "win32", reason="needs resource limits")
def test_a_file_that_the_system_cuts_short_leaves_nothing(tmp_path: Path) -> None:
    """A real refusal in the middle of a write, from the system: the largest file may have 4096 bytes."""
    code = (
        "import resource, sys; from pathlib import Path; from graphs.errors import StoreError\n"
        "from runtime.store import Store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"try: Store(Path({str(tmp_path)!r})).put({KEY!r}, bytes(1 << 20))\n"
        "except StoreError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout
    assert files(Store(tmp_path)) == set()


def test_the_bound_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYC_CACHE_MAX_GB", "0.5")
    assert Store(tmp_path).max_bytes == 1 << 29
    monkeypatch.setenv("COMFYC_CACHE_MAX_GB", "plenty")
    with pytest.raises(StoreError, match="COMFYC_CACHE_MAX_GB"):
        Store(tmp_path)
