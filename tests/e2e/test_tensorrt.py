"""`comfyc compile --backend tensorrt` as a user meets it: a plan with real engines, made without a GPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic import write_checkpoint
from compiler.compile import folding_target, target_of
from compiler.options import CompileOptions
from graphs.examples import example
from graphs.plan import Plan
from graphs.plan_json import load_plan
from runtime.store import Store
from tests.e2e.commands import REPOSITORY, comfyc, hear_ctrl_c
from tests.runtime.tensorrt_here import needs_tensorrt
from tests.small_unet import SMALL

TENSORRT = ("--backend", "tensorrt", "--target", "sm89,sm120")
NETWORKS = {"clip_l", "unet_core", "unet_time", "unet_context", "vae_decoder_u8"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorrt")
    write_checkpoint(folder / "models" / "checkpoints" / "narrow.safetensors", unet=SMALL)
    return folder


def arguments(place: Path, plan: Path) -> list[str]:
    models = ["--models", str(place / "models"), "--set", "4.ckpt_name=narrow.safetensors"]
    sizes = ["--size", "256..512", "--batch", "1:2"]
    return ["compile", str(example("default")), "-o", str(plan), *models, *sizes, *TENSORRT]


def compiled(place: Path, name: str, *more: str) -> Any:
    result = comfyc(*arguments(place, place / name), *more, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@needs_tensorrt
def test_a_plan_is_made_once_and_says_that_it_cannot_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYC_CACHE", str(place / "cache"))
    answer = compiled(place, "a.plan")
    assert (answer["backend"], answer["device"]) == ("tensorrt", "cuda")
    # and three that onnxruntime computes constants with: text, its keys and values, the time embedding
    assert answer["made"]["builds"] == len(NETWORKS) + 3
    plan = load_plan(place / "a.plan")
    engines = {plan.program.networks[name].kind: binding.engine for name, binding in plan.bindings.items()}
    assert set(engines) == NETWORKS
    core = engines["unet_core"]
    assert core.precision == "fp16"
    assert core.fingerprint.startswith("tensorrt-rtx ")
    assert core.fingerprint.endswith("sm89,sm120 fp16 batch=1:2:4 height=32:64:64 text=77:77:770 width=32:64:64")
    assert core.size_bytes > plan.bindings[_id(plan, "unet_core")].weights.size_bytes
    assert (place / "a.plan" / "constants.safetensors").is_file()  # onnxruntime computed them

    ran = comfyc("run", place / "a.plan", "--models", place / "models")
    assert ran.exit_code == 5
    assert len(ran.stderr.strip().splitlines()) == 1
    assert "builds them only" in ran.stderr
    shown = comfyc("inspect", place / "a.plan")
    assert shown.exit_code == 0
    assert "cannot run here: running TensorRT engines needs an NVIDIA GPU" in shown.stdout

    frozen = compiled(place, "b.plan", "--freeze", "6.text", "--freeze", "7.text")
    assert frozen["made"]["builds"] == 0
    assert not any(use.kind == "clip_l" for use in load_plan(place / "b.plan").program.networks.values())


def _id(plan: Plan, kind: str) -> str:
    return next(name for name, use in plan.program.networks.items() if use.kind == kind)


@needs_tensorrt
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C another way")
def test_ctrl_c_while_an_engine_is_built(place: Path, tmp_path: Path) -> None:
    """The whole process group gets the signal, as from a terminal."""
    cache, plan = tmp_path / "cache", tmp_path / "c.plan"
    process = subprocess.Popen(
        [sys.executable, "-m", "comfyc", *arguments(place, plan)], cwd=REPOSITORY, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "COMFYC_CACHE": str(cache)},
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not list(cache.glob("temp/engine-*")):
            assert process.poll() is None, process.stderr
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert (stdout, stderr.strip()) == ("", "interrupted")
    with pytest.raises(ProcessLookupError):  # the builder is gone, too
        os.killpg(process.pid, 0)
    assert not plan.exists()
    assert list(cache.glob("temp/*")) == []
    store = Store(cache)
    assert store.verify() == ()
    assert all(entry.size_bytes > 0 for entry in store.ls())


@needs_tensorrt
def test_a_workflow_is_not_compiled_for_what_cannot_run(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYC_CACHE", str(tmp_path / "cache"))
    setting = "4.ckpt_name=narrow.safetensors"
    result = comfyc("run", example("default"), "--models", place / "models", "--set", setting, *TENSORRT)
    assert result.exit_code == 5
    assert "builds them only" in result.stderr
    assert not (tmp_path / "cache" / "entries").exists()


@needs_tensorrt
def test_targets_must_be_named_and_known(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYC_CACHE", str(tmp_path / "cache"))
    for options, said in (
        (("--backend", "tensorrt"), "--target sm86,sm89,sm120"),
        (("--backend", "tensorrt", "--target", "sm90"), "got sm90"),
        (("--backend", "onnxruntime", "--target", "sm89"), "expected --backend tensorrt"),
    ):
        result = comfyc("compile", example("default"), "-o", tmp_path / "p", "--models", place / "models", *options)
        assert result.exit_code == 2, result.output
        assert said in result.stderr
    assert not (tmp_path / "cache").exists()


@needs_tensorrt
def test_doctor_tells_what_can_be_built(place: Path) -> None:
    result = comfyc("doctor", "--models", place / "models", "--json")
    (finding,) = [f for f in json.loads(result.stdout)["findings"] if f["topic"] == "tensorrt"]
    assert "builds engines for sm75" in finding["detail"]
    assert "not part of this version" in finding["detail"]


@needs_tensorrt
def test_constants_are_computed_by_a_backend_that_runs() -> None:
    target, _ = target_of(CompileOptions(backend="tensorrt", targets=("sm89",)))
    folding = folding_target(target)
    assert (target.backend.name, target.precision, target.device) == ("tensorrt", "fp16", "cuda")
    assert (folding.backend.name, folding.precision, folding.device) == ("onnxruntime", "fp32", "cpu")
    eager, _ = target_of(CompileOptions(backend="eager"))
    assert folding_target(eager) is eager
