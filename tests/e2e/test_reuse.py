"""What compiling again costs: nothing is exported or built twice, and parameters of a run build nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.commands import comfyc
from tests.e2e.narrow import workflow, write_models

Json = Any


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the tests of this file, in which the first checkpoint is compiled already."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache(cache: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYC_CACHE", str(cache))
    monkeypatch.setenv("COMFYC_MODELS", str(models))


def made(tmp_path: Path, *args: str | Path, **options: Any) -> dict[str, int]:
    """What compiling had to do: exports, builds, weights."""
    checkpoint = str(options.pop("checkpoint", "first.safetensors"))
    result = comfyc(
        "compile", workflow(tmp_path, checkpoint, **options), "-o", tmp_path / "plan", "--backend", "onnxruntime",
        "--json", *args,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    counts: Json = json.loads(result.stdout)["made"]
    return {name: counts[name] for name in ("exports", "builds", "weights")}


NETWORKS = 5  # text encoder, VAE decoder, and the three parts of the U-Net
NOTHING = {"exports": 0, "builds": 0, "weights": 0}


@pytest.fixture(scope="module", autouse=True)
def _compiled(cache: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFYC_CACHE", str(cache))
        patch.setenv("COMFYC_MODELS", str(models))
        counts = made(tmp_path_factory.mktemp("first"))
    assert counts == {"exports": NETWORKS, "builds": NETWORKS, "weights": NETWORKS}


def test_the_same_again_makes_nothing(tmp_path: Path) -> None:
    assert made(tmp_path) == NOTHING


def test_a_second_checkpoint_of_the_architecture_is_weights_alone(tmp_path: Path) -> None:
    assert made(tmp_path, checkpoint="second.safetensors") == {**NOTHING, "weights": NETWORKS}


def test_another_architecture_exports_its_own_unet_and_shares_the_rest(tmp_path: Path) -> None:
    counts = made(tmp_path, checkpoint="wider.safetensors")
    assert (counts["exports"], counts["builds"]) == (3, 3)


def test_a_lora_is_its_factors_alone_and_another_strength_of_it_is_nothing(tmp_path: Path) -> None:
    counts = made(tmp_path, strength=0.8)
    assert (counts["exports"], counts["builds"]) == (0, 0)
    assert 1 <= counts["weights"] <= 3  # of the U-Net's parts; text encoder and VAE have no LoRA
    for strength in (0.8, -0.25):
        assert made(tmp_path, strength=strength) == NOTHING


def test_a_wider_range_of_sizes_builds_nothing_where_engines_have_none(tmp_path: Path) -> None:
    assert made(tmp_path, "--size", "64..1024", "--batch", "1:8") == NOTHING


SETTINGS = (
    "6.text=a green fox", "7.text=", "3.seed=123", "3.steps=3", "3.cfg=2.5", "3.cfg=1", "3.sampler_name=heun",
    "3.scheduler=karras", "3.denoise=0.5", "5.width=128", "5.height=72", "5.batch_size=2",
)  # fmt: skip


def kept(cache: Path) -> set[str]:
    return {p.name for p in (cache / "entries").iterdir()} | {p.name for p in (cache / "plans").glob("*")}


def pictures(result_json: str) -> list[tuple[tuple[int, int], bytes]]:
    """Size and pixels of each: the files themselves hold the parameters, too."""
    (run,) = json.loads(result_json)["runs"]
    found = []
    for file in run["files"]:
        with Image.open(file["path"]) as image:
            found.append((image.size, image.tobytes()))
    return found


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_parameter_of_a_run_exports_builds_and_compiles_nothing(setting: str, cache: Path, tmp_path: Path) -> None:
    file = workflow(tmp_path)
    plain = comfyc("run", file, "--backend", "onnxruntime", "--json", "--output", tmp_path / "plain")
    assert plain.exit_code == 0, plain.stderr
    before = kept(cache)
    changed = comfyc(
        "run", file, "--backend", "onnxruntime", "--json", "--output", tmp_path / "changed", "--set", setting
    )  # fmt: skip
    assert changed.exit_code == 0, changed.stderr
    assert kept(cache) == before
    assert pictures(plain.stdout) != pictures(changed.stdout)
