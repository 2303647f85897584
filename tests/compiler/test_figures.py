"""Figures of networks from their shapes, for reports."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.synthetic import narrow_sdxl, write_checkpoint, write_sdxl
from compiler.checking.check import check
from compiler.cost import step_counts
from compiler.linking.figures import _flop
from compiler.networks import UNetConfig, VaeConfig
from compiler.reporting.explain import Explanation, explain, to_text
from graphs.errors import ModelMissingError
from graphs.examples import example
from graphs.operands import Literal, Ref
from graphs.program import Program, Step
from graphs.schemas import builtin
from graphs.workflow import read_workflow
from tests.e2e.commands import comfyc


def explained(file: Path) -> Explanation:
    schemas = builtin()
    return explain(check(read_workflow(example("default"), schemas), schemas).graph, schemas, find=lambda _: file)


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figures") / "sdxl.safetensors"
    write_sdxl(path)
    return path


def test_operations_are_those_of_the_published_configurations() -> None:
    """Source: counts of the public SD1.5 configuration (2 per multiply-add)."""
    assert _flop("vae_decoder", VaeConfig(), 64, 64, 20) == pytest.approx(2.5145e12, rel=1e-3)
    narrow = replace(UNetConfig(), model_channels=32, widths=(32, 64, 128, 128), time_width=128)
    wide = replace(narrow, model_channels=64, widths=(64, 128, 256, 256), time_width=256)
    once, twice = (_flop("unet", config, 32, 32, 20) for config in (narrow, wide))
    assert 3.0 < twice / once < 4.0  # convolutions grow with the square of the width


def test_a_report_on_opened_files_is_of_their_family(sdxl: Path, tmp_path: Path) -> None:
    found = explained(sdxl)
    assert set(found.cost.flop) == {
        "clip_l", "clip_g", "unet_core", "unet_context", "unet_time", "vae_decoder_u8",
    }  # fmt: skip
    assert "denoiser:unet_core" in to_text(found)
    write_checkpoint(tmp_path / "sd15.safetensors")
    small = explained(tmp_path / "sd15.safetensors")
    config = narrow_sdxl()["unet"]
    once = _flop("unet_core", config, 64, 64, 20)
    assert found.cost.flop["unet_core"] == pytest.approx(40 * once)
    assert small.cost.flop["unet_core"] != found.cost.flop["unet_core"]


def test_the_command_opens_the_files_of_a_folder_that_it_is_given(sdxl: Path, tmp_path: Path) -> None:
    name = next(node.widgets["ckpt_name"] for node in read_workflow(example("default"), builtin()) if node.id == "4")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).write_bytes(sdxl.read_bytes())
    (tmp_path / "w.json").write_text(example("default").read_text())
    report = json.loads(comfyc("explain", tmp_path / "w.json", "--json", "-m", tmp_path).stdout)
    assert "unet_core" in report["networks"].values()
    assert report["estimate"]["flop"]["clip_g"] > 0
    plain = json.loads(comfyc("explain", tmp_path / "w.json", "--json").stdout)
    assert "denoiser_core" in plain["networks"].values()


def test_a_missing_file_is_told() -> None:
    def missing(file: object) -> Path:
        raise ModelMissingError("no such file", where="checkpoints")

    schemas = builtin()
    graph = check(read_workflow(example("default"), schemas), schemas).graph
    with pytest.raises(ModelMissingError):
        explain(graph, schemas, find=missing)


def test_steps_of_schedules_are_found_in_linear_time() -> None:
    def built(count: int) -> Program:
        steps = []
        for n in range(count):
            steps.append(Step(f"{n}.a", "make_sigmas", {"steps": Literal(n + 1)}, {}, (f"{n}.sigmas",)))
            steps.append(Step(f"{n}.b", "sample", {"sigmas": Ref(f"{n}.sigmas")}, {}, (f"{n}.latent",)))
        return Program(tuple(steps))

    program = built(20_000)
    started = time.process_time()
    found = step_counts(program)
    assert time.process_time() - started < 2
    assert (found["7.b"], found["19999.b"]) == (8, 20_000)
