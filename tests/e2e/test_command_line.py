"""What every command promises: exit codes, one clean message on stderr, machine output on stdout."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from comfyc.diagnosis import driver_version
from tests.e2e.commands import DEFAULT, GOLDENS, REPOSITORY, comfyc, hear_ctrl_c


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COMFYC_MODELS", raising=False)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    for name in ("checkpoints/sd15.safetensors", "checkpoints/sub/other.ckpt", "loras/a.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"12345")
    return folder


def test_version_and_unknown_command() -> None:
    assert comfyc("--version").stdout.startswith("comfyc ")
    result = comfyc("complie", "x")
    assert result.exit_code == 2
    assert "compile" in result.stderr


def test_exit_codes_from_a_real_process(tmp_path: Path) -> None:
    env = {**os.environ, "COMFYC_CACHE": str(tmp_path)}
    bad = tmp_path / "bad.json"
    bad.write_text('{"1": {"class_type": "NoSuchNode", "inputs": {}}}')
    for args, code in (
        (["--version"], 0),
        (["check", str(DEFAULT)], 0),
        (["frobnicate"], 2),
        (["check", str(tmp_path / "none.json")], 2),
        (["check", str(bad)], 3),
        (["compile", str(DEFAULT), "-o", str(tmp_path / "p"), "--models", str(_empty(tmp_path))], 4),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "comfyc", *args], cwd=REPOSITORY, env=env, capture_output=True, text=True
        )
        assert done.returncode == code, (args, done.stderr)
        assert "Traceback" not in done.stderr


def _empty(tmp_path: Path) -> Path:
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    return tmp_path / "empty"


@pytest.mark.parametrize("command", ["check", "convert", "compile", "run", "explain"])
def test_files_that_cannot_be_workflows(command: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    for path, what in (
        (tmp_path / "none.json", "no such"),
        (tmp_path / "notes.txt", ".json"),
        (tmp_path / "folder", "folder"),
    ):
        result = comfyc(command, path)
        assert result.exit_code == 2, result.stderr
        assert what in result.stderr
        assert str(path) in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert result.stdout == ""


def test_a_near_name_is_suggested(tmp_path: Path) -> None:
    shutil.copyfile(DEFAULT, tmp_path / "workflow.json")
    assert "did you mean" in comfyc("check", tmp_path / "workflwo.json").stderr


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00\x01", '{"nodes": 3}'])
def test_damaged_workflows_exit_3_with_one_message(text: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    for command in ("convert", "compile", "run"):
        result = comfyc(command, bad)
        assert result.exit_code == 3, result.output
        assert result.stderr.startswith("error: ")


def test_check_lists_every_problem_of_every_file(tmp_path: Path) -> None:
    prompt = json.loads(DEFAULT.read_text())
    sampler = next(n for n in prompt.values() if n["class_type"] == "KSampler")
    sampler["inputs"]["steps"] = -5
    sampler["inputs"]["sampler_name"] = "no_such_sampler"
    del sampler["inputs"]["model"]
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(prompt))
    result = comfyc("check", bad, DEFAULT)
    assert result.exit_code == 3
    for word in ("steps", "no_such_sampler", "model", f"{DEFAULT}: ok"):
        assert word in result.stdout
    answer = json.loads(comfyc("check", "--json", bad, DEFAULT).stdout)
    assert [f["ok"] for f in answer["files"]] == [False, True]
    types = {p["type"] for p in answer["files"][0]["problems"]}
    assert {"value_smaller_than_min", "value_not_in_list", "required_input_missing"} <= types


def test_check_says_4_when_only_a_model_is_missing(models: Path) -> None:
    assert comfyc("check", DEFAULT, "--models", models).exit_code == 0
    (models / "checkpoints" / "sd15.safetensors").rename(models / "checkpoints" / "sd14.safetensors")
    result = comfyc("check", DEFAULT, "--models", models)
    assert result.exit_code == 4
    assert "sd14.safetensors" in result.stdout


def test_convert_is_api_json_on_stdout(tmp_path: Path) -> None:
    result = comfyc("convert", DEFAULT)
    assert result.exit_code == 0
    wanted = json.loads(DEFAULT.read_text())
    assert json.loads(result.stdout) == wanted
    assert comfyc("convert", DEFAULT, "-o", tmp_path / "api.json").stdout == ""
    assert json.loads((tmp_path / "api.json").read_text()) == wanted


def test_object_info_adds_schemas(tmp_path: Path) -> None:
    info = {
        "MyNode": {
            "input": {"required": {"x": ["INT", {"default": 1}]}},
            "output": ["IMAGE"],
            "output_node": True,
            "output_name": ["IMAGE"],
            "name": "MyNode",
            "category": "x",
        }
    }
    (tmp_path / "info.json").write_text(json.dumps(info))
    workflow = tmp_path / "w.json"
    workflow.write_text(json.dumps({"1": {"class_type": "MyNode", "inputs": {"x": 2}}}))
    assert "unknown node" in comfyc("check", workflow).stdout
    known = comfyc("check", workflow, "--object-info", tmp_path / "info.json")
    assert "unknown node" not in known.stdout
    assert "does not compile" in known.stdout
    (tmp_path / "info.json").write_text("no json")
    assert comfyc("check", workflow, "--object-info", tmp_path / "info.json").exit_code == 2


def test_models_list(models: Path) -> None:
    text = comfyc("models", "list", "--models", models).stdout
    assert "checkpoints (2)" in text
    assert "sub/other.ckpt" in text
    answer = json.loads(comfyc("models", "list", "loras", "--models", models, "--json").stdout)
    assert [m["name"] for m in answer["models"]["loras"]] == ["a.safetensors"]
    assert list(answer["models"]) == ["loras"]
    assert comfyc("models", "list", "lorax", "--models", models).exit_code == 2
    assert comfyc("models", "list", "--models", models / "none").exit_code == 2


def test_models_list_without_folders_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = comfyc("models", "list")
    assert result.exit_code == 2
    assert "COMFYC_MODELS" in result.stderr


def test_doctor_finds_what_is_there(models: Path) -> None:
    answer = json.loads(comfyc("doctor", "--json", "--models", models).stdout)
    assert answer["ok"] is True
    by_name = {f["name"]: f for f in answer["findings"]}
    assert by_name["checkpoints"]["detail"] == "2 files"
    assert by_name["python"]["status"] == by_name["torch"]["status"] == by_name["onnxruntime"]["status"] == "ok"
    assert {f["status"] for f in answer["findings"]} <= {"ok", "warn", "fail"}
    assert all(f["hint"] for f in answer["findings"] if f["status"] == "fail")


def test_doctor_says_what_each_backend_can_do_here() -> None:
    answer = json.loads(comfyc("doctor", "--json").stdout)
    by_name = {f["name"]: f for f in answer["findings"] if f["topic"] == "backends"}
    assert by_name["eager"]["detail"].startswith("compiles and runs: torch on CPU")
    if not torch.cuda.is_available():
        assert by_name["inductor"]["detail"] == "not usable here: torch sees no NVIDIA GPU"
        assert "install torch with CUDA" in by_name["inductor"]["hint"]


def test_doctor_reads_the_version_of_the_nvidia_driver(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX Open Kernel Module  580.159.04  Release Build")
    assert driver_version(tmp_path / "version") == "driver 580.159.04"
    (tmp_path / "version").write_text("no number")
    assert driver_version(tmp_path / "version") == "driver of unknown version"


def test_doctor_says_what_is_wrong_with_model_folders(tmp_path: Path) -> None:
    (tmp_path / "m" / "checkpoints").mkdir(parents=True)
    empty = comfyc("doctor", "--models", tmp_path / "m")
    assert empty.exit_code == 0
    assert "put a Stable Diffusion 1.5 checkpoint into" in empty.stdout
    missing = comfyc("doctor", "--models", tmp_path / "none")
    assert missing.exit_code == 0
    assert "does not exist" in missing.stdout


def test_doctor_exits_5_when_nothing_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it now raises ImportError
    result = comfyc("doctor")
    assert result.exit_code == 5
    assert "fail" in result.stdout


def test_cache_commands(tmp_path: Path) -> None:
    from runtime.store import Store

    store = Store()
    entry = store.put("engine-" + "0" * 40, b"abc")
    store.put("engine-" + "1" * 40, b"abcdef")
    answer = json.loads(comfyc("cache", "ls", "--json").stdout)
    assert {e["size_bytes"] for e in answer["entries"]} == {3, 6}
    assert "engine-000" in comfyc("cache", "ls").stdout
    assert comfyc("cache", "verify").exit_code == 0
    entry.path.write_bytes(b"xyz")
    damaged = comfyc("cache", "verify", "--json", "-q")
    assert damaged.exit_code == 1
    assert json.loads(damaged.stdout)["damaged"] == [entry.key]
    assert "removed 1 file (6 B)" in comfyc("cache", "prune", "--all").stdout
    assert comfyc("cache", "prune", "--max-size", "lots").exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    assert "_COMFYC_COMPLETE" in comfyc("completion", shell).stdout


def test_completion_completes_commands() -> None:
    env = {**os.environ, "_COMFYC_COMPLETE": "bash_complete", "COMP_WORDS": "comfyc co", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from comfyc.cli import main; main()"],
        cwd=REPOSITORY,
        env=env,
        capture_output=True,
        text=True,
    )
    assert {line.partition(",")[2] for line in done.stdout.split()} == {"compile", "convert", "completion"}


def test_inspect_and_run_of_what_is_no_plan(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    for command in ("inspect", "run"):
        result = comfyc(command, tmp_path / "dir")
        assert result.exit_code == 2
        assert "comfyc compile" in result.stderr
    (tmp_path / "dir" / "plan.json").write_text("{}")
    result = comfyc("inspect", tmp_path / "dir")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


def test_compile_refuses_to_replace_a_folder_that_is_no_plan(tmp_path: Path, models: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").write_bytes(b"x")
    result = comfyc("compile", DEFAULT, "-o", tmp_path / "mine", "--models", models)
    assert result.exit_code == 2
    assert (tmp_path / "mine" / "photo.png").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("backend", ["eager", "inductor", "auto"])
def test_a_device_that_is_not_there_is_refused_before_any_work(backend: str, tmp_path: Path, models: Path) -> None:
    """The checkpoint here is five bytes: whoever looked into it would say so."""
    options = ("--backend", backend, "--device", "cuda")
    result = comfyc("compile", DEFAULT, "-o", tmp_path / "p", "--models", models, *options)
    assert result.exit_code == 5, result.stderr
    assert "torch sees no NVIDIA GPU" in result.stderr


def test_passes_are_dumped_and_left_out(tmp_path: Path) -> None:
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "Reroute", "inputs": {"": ["1", 0]}},
        "3": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "4": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "5": {"class_type": "ImageBatch", "inputs": {"image1": ["3", 0], "image2": ["4", 0]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "x"}},
    }
    (tmp_path / "w.json").write_text(json.dumps(prompt))
    for level in (1, 0):
        args = ["-o", str(tmp_path / "plan"), "--dump-passes", str(tmp_path / "dump"), f"-O{level}"]
        assert comfyc("compile", str(tmp_path / "w.json"), *args).exit_code == 0
        dumped = sorted(file.name for file in (tmp_path / "dump").iterdir())
        assert dumped[:2] == ["graph_01_prune.txt", "graph_02_dissolve_reroutes.txt"]
        assert ("graph_04_dedupe.txt" in dumped) == (level == 1)
        text = (tmp_path / "dump" / "graph_02_dissolve_reroutes.txt").read_text()
        assert text.startswith("# 2: Reroute: passes on slot 0 of node 1")
        steps = json.loads((tmp_path / "plan" / "plan.json").read_text())["program"]["steps"]
        assert [step["op"] for step in steps].count("invert_image") == 2 - level


def test_a_folder_for_dumps_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(
        '{"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}, '
        '"2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}'
    )
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "graph_1.txt").mkdir()
    result = comfyc(
        "compile", str(tmp_path / "w.json"), "--dump-passes", str(tmp_path / "dump"), "-o", str(tmp_path / "p")
    )
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_ctrl_c_exits_130_and_says_so(tmp_path: Path) -> None:
    """A real SIGINT while a command is at work (check of a great many files)."""
    code = (
        "import time, sys\nfrom comfyc import sources\n"
        "def slow(*_):\n    print('started', flush=True); time.sleep(60)\n"
        "sources.read_graph = slow\nfrom comfyc.cli import main\n"
        f"sys.argv = ['comfyc', 'convert', {str(DEFAULT)!r}]\nmain()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "started"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "interrupted" in stderr


def test_quiet_and_verbose_choose_what_stderr_shows(models: Path, tmp_path: Path) -> None:
    (models / "checkpoints" / "sd15.safetensors").rename(models / "checkpoints" / "SD15.safetensors")
    prompt = json.loads((GOLDENS / "cfg_1" / "workflow.json").read_text())
    workflow = tmp_path / "w.json"
    workflow.write_text(json.dumps(prompt))
    loud = comfyc("models", "list", "--models", models, "-v")
    quiet = comfyc("models", "list", "--models", models, "-q")
    assert loud.exit_code == quiet.exit_code == 0
    assert quiet.stderr == ""
