"""The command as a process among others: closed and full outputs, encodings, signals, homes, what it writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.commands import REPOSITORY, hear_ctrl_c

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and signals as POSIX has them")

EXAMPLES = REPOSITORY / "graphs" / "examples"
DEFAULT = str(EXAMPLES / "default.json")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "comfyc", *arguments]


def environment(tmp_path: Path, **changes: str) -> dict[str, str]:
    """A home, a cache and a folder for temporary files of their own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COMFYC_", "ORT_", "XDG_", "PYTHONIO"))}
    places = {"HOME": "home", "TMPDIR": "tmp", "COMFYC_CACHE": "cache"}
    for folder in places.values():
        (tmp_path / folder).mkdir(exist_ok=True)
    ours = {name: str(tmp_path / folder) for name, folder in places.items()}
    return {**kept, **ours, "PYTHONPATH": str(REPOSITORY), **changes}


def run(tmp_path: Path, arguments: Sequence[str], **changes: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*arguments), env=environment(tmp_path, **changes), capture_output=True, timeout=120)


@pytest.mark.parametrize("arguments", [("convert", DEFAULT), ("check", DEFAULT), ("--help",)])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_output_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(*arguments), env=environment(tmp_path), stdout=full, stderr=subprocess.PIPE, timeout=120
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "error: cannot write the output: No space left on device; free some space"
    ]


@pytest.mark.parametrize("arguments", [("convert", DEFAULT), ("--help",)])
def test_a_reader_that_went_away_is_no_news(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    child = subprocess.Popen(
        command(*arguments), env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None
    errors = child.communicate(timeout=120)[1]
    assert (child.returncode, errors) == (1, b"")


def test_a_closed_output_is_no_traceback(tmp_path: Path) -> None:
    line = " ".join(command("check", DEFAULT)) + " >&-"
    done = subprocess.run(["sh", "-c", line], env=environment(tmp_path), capture_output=True, timeout=120)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii", "utf-16"])
def test_json_is_utf8_whatever_the_system_writes(tmp_path: Path, encoding: str) -> None:
    text = "café 雨 \U0001f600 \ud800"
    prompt = json.loads((EXAMPLES / "api" / "default.json").read_text("utf-8"))
    node = next(n for n in prompt.values() if n["class_type"] == "CLIPTextEncode")
    node["inputs"]["text"] = text
    file = tmp_path / "w.json"
    file.write_text(json.dumps(prompt), "utf-8")
    done = run(tmp_path, ["convert", str(file)], PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(done.stdout.decode("utf-8"))
    assert text in [n["inputs"].get("text") for n in found.values()]


def test_the_escapes_of_the_output_are_those_of_json(tmp_path: Path) -> None:
    code = (
        "import sys, io; sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='cp1252')\n"
        "sys.stdout.isatty = lambda: True\n"
        "from comfyc.streams import prepare_streams; prepare_streams(); print('\"é雨\\U0001f600\"')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, check=True)
    assert json.loads(done.stdout.decode("cp1252")) == "é雨\U0001f600"


SLEEPER = (
    "import sys, time\n"
    "from comfyc import stopping\n"
    "stopping.GRACE_S = 1.0\n"
    "stopping.watch_signals()\n"
    "try:\n    print('ready', flush=True)\n    BODY\nfinally:\n    print('cleaned up', flush=True)\n"
)


def stopped(tmp_path: Path, body: str, *signals: int) -> tuple[int, str, float]:
    child = subprocess.Popen(
        [sys.executable, "-c", SLEEPER.replace("BODY", body)],
        env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)  # into the body
    began = time.monotonic()
    for number in signals:
        child.send_signal(number)
        time.sleep(0.3)
    out = child.communicate(timeout=60)[0]
    return child.returncode, out, time.monotonic() - began


def test_sigterm_cleans_up(tmp_path: Path) -> None:
    status, out, _ = stopped(tmp_path, "time.sleep(60)", signal.SIGTERM)
    assert (status, out) == (143, "cleaned up\n")


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    body = "\n    ".join(("try: time.sleep(60)", "finally: time.sleep(60)"))
    status, out, _ = stopped(tmp_path, body, signal.SIGINT, signal.SIGINT)
    assert (status, out) == (130, "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_library_that_does_not_listen_is_waited_for_so_long(tmp_path: Path, number: int, status: int) -> None:
    """C code that runs without an instruction of Python in between, and a Ctrl-C that got lost."""
    native = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
    found, out, seconds = stopped(tmp_path, native, number)
    assert (found, out) == (status, "")
    assert seconds < 15
    lost = "exec('while True:\\n try: time.sleep(60)\\n except BaseException: pass')"
    assert stopped(tmp_path, lost, number)[:2] == (status, "")


def test_ctrl_c_in_the_imports_is_no_traceback(tmp_path: Path) -> None:
    code = (
        "import builtins, os, signal\n"
        "real = builtins.__import__\n"
        "def slow(name, *rest, **more):\n"
        "    if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = slow\n"
        "from comfyc.cli import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path), capture_output=True, timeout=120, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, b"")


def test_no_home_is_one_line(tmp_path: Path) -> None:
    for cache in ("~nobody-of-that-name/x", "\udce9"):
        done = run(tmp_path, ["cache", "ls"], COMFYC_CACHE=cache)
        assert done.returncode == 1
        assert done.stderr.startswith(b"error: ")
        assert b"Traceback" not in done.stderr
    done = run(tmp_path, ["models", "list", "--models", "~nobody-of-that-name/x"])
    assert (done.returncode, b"does not exist" in done.stderr) == (2, True)


def test_a_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for arguments in (["cache", "ls"], ["cache", "prune"], ["cache", "verify"], ["doctor"]):
        done = run(tmp_path, arguments, COMFYC_CACHE=str(tmp_path / "file"))
        assert b"Traceback" not in done.stderr, arguments


@pytest.mark.parametrize("size", ["9" * 400, "1e5", "-5", "99999999999999TB"])
def test_sizes_that_are_none(tmp_path: Path, size: str) -> None:
    done = run(tmp_path, ["cache", "prune", "--max-size", size])
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False)


ORT = "import runtime.backends.onnxruntime as b, time; b.OnnxRuntimeBackend().available(); time.sleep(2)"


@pytest.mark.parametrize("arguments", [("-P", "-m", "comfyc", "doctor"), ("-c", ORT)])
def test_nothing_is_sent_and_nothing_written_outside(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """No device id in the home folder, no session file, no question to a name server."""
    trace, line = tmp_path / "trace", [sys.executable, *arguments]
    strace = shutil.which("strace")
    if strace is not None:
        line = [strace, "-f", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace), *line]
    done = subprocess.run(line, env=environment(tmp_path), capture_output=True, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stderr.decode()
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} - {"trace"}
    assert written == set()
    if strace is not None:
        assert "AF_INET" not in trace.read_text()


def test_a_folder_named_runtime_is_not_run(tmp_path: Path) -> None:
    """The child that builds engines is started with our packages, not with those of the current folder."""
    mark = tmp_path / "mark"
    for name in ("runtime", "json", "graphs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open({str(mark)!r}, 'w')\n")
    code = (
        "from graphs.errors import ComfycError\n"
        "from runtime.backends.build_process import run_build\n"
        "try: run_build('runtime.backends.tensorrt_builder', {'kind': 'unet'}, b'')\n"
        "except ComfycError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not mark.exists()
