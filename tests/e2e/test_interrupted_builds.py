"""Compiles that are killed, race each other or meet a full disk: the store stays whole and the next compile works."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import runtime.store
from runtime.store import Store
from tests.e2e.commands import REPOSITORY, comfyc
from tests.e2e.narrow import workflow, write_models

Json = Any


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMFYC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COMFYC_MODELS", str(models))
    return tmp_path / "cache"


def started(file: Path, plan: Path) -> subprocess.Popen[str]:
    """A compile in a process of its own."""
    command = [sys.executable, "-m", "comfyc", "compile", str(file), "-o", str(plan), "--backend", "onnxruntime"]
    return subprocess.Popen(
        [*command, "--json"], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def compiles_and_runs(file: Path, folder: Path) -> None:
    """The next compile needs no help, and its plan makes a picture."""
    done = comfyc("compile", file, "-o", folder / "after.plan", "--backend", "onnxruntime")
    assert done.exit_code == 0, done.stderr
    assert "damaged" not in done.stderr
    run = comfyc("run", folder / "after.plan", "--output", folder / "after", "--json")
    assert run.exit_code == 0, run.stderr
    with Image.open(json.loads(run.stdout)["runs"][0]["files"][0]["path"]) as image:
        assert image.size == (64, 64)


def is_whole(cache: Path) -> None:
    """Every entry has its data and its hash, and nothing lies about."""
    store = Store(cache)
    keys = {entry.key for entry in store.ls()}
    assert store.verify() == ()
    assert {p.name for p in (cache / "entries").iterdir()} == keys | {f"{key}.json" for key in keys}
    assert list((cache / "temp").iterdir()) == []


def wait_for(pattern: str, cache: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not list(cache.glob(pattern)):
        assert process.poll() is None, "the compile ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.0005)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("moment", ["temp/graph-*", "temp/weights-*"])
def test_a_killed_compile_leaves_a_store_that_the_next_one_uses(moment: str, cache: Path, tmp_path: Path) -> None:
    file = workflow(tmp_path)
    process = started(file, tmp_path / "killed.plan")
    wait_for(moment, cache, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed.plan").exists()
    compiles_and_runs(file, tmp_path)
    Store(cache).prune(1 << 40)  # what `comfyc cache prune` does: only here go leftovers of keys that nobody made again
    is_whole(cache)


def test_two_processes_that_compile_the_same_share_the_work(cache: Path, tmp_path: Path) -> None:
    file = workflow(tmp_path)
    both = [started(file, tmp_path / f"{i}.plan") for i in range(2)]
    answers = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    counts = [json.loads(out)["made"] for out, _ in answers]
    keys = [entry.key for entry in Store(cache).ls()]
    for kind, counted in (("graph", "exports"), ("engine", "builds"), ("weights", "weights")):
        assert sum(c[counted] for c in counts) == sum(key.startswith(kind) for key in keys), kind
    assert [err for _, err in answers if "Traceback" in err] == []
    plans = [(tmp_path / f"{i}.plan" / "plan.json").read_text("utf-8") for i in range(2)]
    assert json.loads(plans[0])["bindings"] == json.loads(plans[1])["bindings"]
    is_whole(cache)


@pytest.mark.parametrize("free_bytes", [100_000, 3_000_000])
def test_a_disk_that_fills_up_is_one_clear_error(
    free_bytes: int, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file layer says ENOSPC once so many bytes were written."""
    file, written, write = workflow(tmp_path), 0, runtime.store.Sink.write

    def limited(self: Any, data: bytes | memoryview) -> int:
        nonlocal written
        written += memoryview(data).nbytes
        if written > free_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(runtime.store.Sink, "write", limited)
        failed = comfyc("compile", file, "-o", tmp_path / "full.plan", "--backend", "onnxruntime")
    assert failed.exit_code == 1
    (message,) = failed.stderr.strip().splitlines()
    assert "the disk of the store is full" in message
    assert "COMFYC_CACHE" in message
    assert not (tmp_path / "full.plan").exists()
    is_whole(cache)
    compiles_and_runs(file, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_write_that_the_system_refuses_is_one_clear_error(cache: Path, tmp_path: Path) -> None:
    """No file larger than 1 MB: the system itself stops the weights in the middle."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "from comfyc.cli import main\n"
        f"sys.argv = ['comfyc', 'compile', {str(workflow(tmp_path))!r}, '-o', {str(tmp_path / 'p')!r}]\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    (message,) = done.stderr.strip().splitlines()
    assert "cannot write weights-" in message
    is_whole(cache)
