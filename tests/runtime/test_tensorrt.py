"""The TensorRT backend without networks: what it refuses and when, progress, cancelling, the library's errors."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphs.dims import Dim
from graphs.errors import BuildError, DeviceError, UsageError
from runtime.backends import backend, pick
from runtime.backends.backend import EngineSpec, LoadSpec, TensorSpec
from runtime.backends.build_phases import SCALE, BuildPhases
from runtime.backends.build_process import run_build
from runtime.backends.tensorrt import TARGETS, TensorRtBackend, shapes
from runtime.network_weights import NetworkWeights
from tests.runtime.small_networks import attention, product, written_out_attention
from tests.runtime.tensorrt_here import needs_tensorrt

ADA = EngineSpec("fp16", "cuda", {"batch": (1, 2, 4), "length": (64, 256, 1024)}, ("sm89",))


@pytest.mark.parametrize(
    ("precision", "targets", "said"),
    [
        ("fp16", (), "--target sm86,sm89,sm120"),
        ("fp16", ("sm89", "sm90"), "expected sm75, sm80, sm86, sm89, sm120, sm121, got sm90"),
        ("fp8", ("sm89",), "got fp8"),
        ("bf16", ("sm75", "sm89"), "sm75 has no bf16"),
    ],
)
def test_what_cannot_be_built_is_refused_before_any_work(precision: str, targets: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        TensorRtBackend().check(EngineSpec(precision, "cuda", targets=targets))
    assert said in str(caught.value)


@needs_tensorrt
def test_the_table_of_targets_is_the_librarys() -> None:
    code = "import tensorrt_rtx_bindings as trt; print(*trt.ComputeCapability.__members__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.lower() for name in done.stdout.split()} - {"none", "current"} == set(TARGETS)


@needs_tensorrt
def test_targets_choose_tensorrt() -> None:
    chosen, why = pick("auto", targets=("sm89",))
    assert chosen.name == "tensorrt"
    assert "sm89" in why


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"not installed.*comfyc\[tensorrt-rtx\]"):
        pick("tensorrt", targets=("sm89",))


def test_engines_are_not_run_by_this_version() -> None:
    state = backend("tensorrt").available()
    assert not state.can_run
    with pytest.raises(DeviceError, match="builds them only") as caught:
        backend("tensorrt").load(Path("engine"), NetworkWeights([]), LoadSpec("cuda"))
    assert caught.value.exit_code == 5


def test_the_fingerprint_tells_everything_an_engine_is_bound_to() -> None:
    told = TensorRtBackend().fingerprint
    assert told(ADA).startswith("tensorrt-rtx ")
    assert told(ADA).endswith(" sm89 fp16 batch=1:2:4 length=64:256:1024")
    others = (
        EngineSpec("bf16", "cuda", ADA.profile, ADA.targets),
        EngineSpec("fp16", "cuda", ADA.profile, ("sm89", "sm120")),
        EngineSpec("fp16", "cuda", {**ADA.profile, "batch": (1, 2, 8)}, ADA.targets),
    )
    assert len({told(ADA), *map(told, others)}) == 4


def test_shapes_of_a_profile() -> None:
    profile = {"batch": (1, 2, 8), "height": (8, 64, 128), "width": (16, 64, 64)}
    inputs = (
        TensorSpec("image", "float32", (Dim("batch"), Dim("height", 8), Dim("width", 8), 3)),
        TensorSpec("table", "float32", (77, 64)),
        TensorSpec("part", "float32", (Dim("batch"), Dim("height", over=16), Dim("width"))),
    )
    expected = {
        "image": [[1, 64, 128, 3], [2, 512, 512, 3], [8, 1024, 512, 3]],
        "part": [[1, 1, 16], [2, 4, 64], [8, 8, 64]],
    }
    assert shapes(inputs, profile, "here") == expected
    with pytest.raises(BuildError, match="'text' has no bounds: expected batch, height, width"):
        shapes((TensorSpec("context", "float32", (Dim("batch"), Dim("text"), 64)),), profile, "here")
    with pytest.raises(BuildError, match="out of order: expected min <= opt <= max, got 4, 2, 8"):
        shapes(inputs, {**profile, "batch": (4, 2, 8)}, "here")


def test_phases_become_one_number_that_only_grows() -> None:
    phases = BuildPhases()
    assert phases.done() == 0
    phases.start("build", None, 4)
    phases.step("build", 0)
    assert phases.done() == SCALE // 4
    phases.start("optimise", "build", 2)
    phases.step("optimise", 0)
    assert phases.done() == SCALE * 3 // 8
    phases.start("optimise", "build", 2)  # the library starts some phases again
    assert phases.done() == SCALE * 3 // 8
    phases.finish("optimise")
    phases.step("build", 1)
    phases.step("unknown", 7)
    assert phases.done() == SCALE // 2
    phases.step("build", 3)
    phases.finish("build")
    assert phases.done() == SCALE


@needs_tensorrt
def test_a_small_network_is_built(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def progress(phase: str, done: int, total: int) -> bool:
        told.append((phase, done, total))
        return True

    built = TensorRtBackend().built(product(tmp_path), ADA, progress)
    assert built.engine.nbytes > 1000
    assert built.layers > 0
    assert built.activation_bytes is not None
    assert told
    assert {(phase, total) for phase, _, total in told} == {("build product (TensorRT)", SCALE)}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1] == SCALE


@needs_tensorrt
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weight": None}, "the graph"),
        ({"weight": (8, 15)}, "the weight w"),
        ({"op": "NoSuchOp"}, "NoSuchOp"),
    ],
)
def test_the_parsers_errors_are_one_build_error(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        TensorRtBackend().build(product(tmp_path, **changes), ADA)
    message = str(caught.value)
    assert message.startswith("product: TensorRT-RTX refuses the network: ")
    assert said in message
    assert "no reason" not in message
    assert "\n" not in message


@needs_tensorrt
def test_a_graph_that_is_no_onnx_is_a_build_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="product: TensorRT-RTX refuses the network: the ONNX file: "):
        TensorRtBackend().build(replace(product(tmp_path), graph=b"\xff" * 64), ADA)


@needs_tensorrt
def test_the_builders_errors_are_one_build_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Heads of 4 have no kernel. The library prints on its own besides; none of it may reach the user's terminal."""
    with pytest.raises(BuildError, match=r"attention: TensorRT-RTX refuses the network: .*is_decomposable"):
        TensorRtBackend().build(attention(tmp_path, heads=8, head_dim=4), ADA)
    assert capfd.readouterr() == ("", "")


@needs_tensorrt
def test_an_attention_is_fused(tmp_path: Path) -> None:
    """A fused kernel never holds the scores, and the library's figure of activation memory tells which it is."""
    scores = 4 * 8 * 1024 * 1024 * 2
    fused = TensorRtBackend().built(attention(tmp_path, heads=8, head_dim=64), ADA).activation_bytes
    not_fused = TensorRtBackend().built(written_out_attention(tmp_path, heads=8, head_dim=4), ADA).activation_bytes
    assert fused is not None
    assert not_fused is not None
    assert fused < scores / 4
    assert not_fused >= scores


@needs_tensorrt
def test_a_refusing_progress_cancels_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def recorded(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        children.append(original(*args, **kwargs))
        return children[-1]

    monkeypatch.setattr(subprocess, "Popen", recorded)
    with pytest.raises(KeyboardInterrupt):
        TensorRtBackend().build(product(tmp_path), ADA, lambda phase, done, total: False)
    assert [child.poll() is not None for child in children] == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that end a process")
def test_a_builder_that_crashes_is_a_build_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, sys\nprint('out of luck', file=sys.stderr, flush=True)\nos.abort()"
    (tmp_path / "crashing.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BuildError, match=r"unet: the builder crashed \(SIGABRT\): got out of luck"):
        run_build("crashing", {"kind": "unet"}, b"x" * (1 << 20))


@needs_tensorrt
def test_the_builder_ends_when_nobody_listens(tmp_path: Path) -> None:
    """As after `kill -9` of the compiler: the child must not build on alone."""
    model = attention(tmp_path, heads=8, head_dim=64)
    request = {
        "kind": "attention", "weights": [str(path) for path in model.weights], "targets": ["sm89"],
        "graph_bytes": len(model.graph),
        "shapes": shapes(model.inputs, ADA.profile, "attention"),
    }  # fmt: skip
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "runtime.backends.tensorrt_builder"],
        input=json.dumps(request).encode() + b"\n" + model.graph, stdout=writing, stderr=subprocess.PIPE, timeout=60,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
