"""`comfyc bench` with the demo model, and what it computes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from comfyc.demo_model import install
from comfyc.demonstration import FOLDER
from comfyc.measuring import PHASES, distance, quantile, sized
from graphs.errors import UsageError
from graphs.program import Program
from tests.e2e.commands import comfyc

WORKFLOW = FOLDER / "workflows" / "text_to_image.json"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models and a plan of the demo model at 64 pixels, up to two pictures."""
    folder = tmp_path_factory.mktemp("bench")
    install(folder / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFYC_CACHE", str(folder / "store"))
        options = ("--size", "64", "--batch", "1:2", "-m", folder / "models")
        sizes = ("--set", "5.width=64", "--set", "5.height=64")
        assert comfyc("compile", WORKFLOW, "-o", folder / "demo.plan", *options, *sizes).exit_code == 0
    return folder


def test_a_plan_is_measured(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYC_CACHE", str(bench / "store"))
    out = ("-o", bench / "output", "--set", "3.steps=2", "--set", "3.seed=1")
    result = comfyc("bench", bench / "demo.plan", "--repeat", "3", "--json", bench / "one.json", *out)
    assert result.exit_code == 0, result.output
    found = json.loads((bench / "one.json").read_text())
    assert (found["runs"], found["images_per_run"], found["device"]) == (3, 1, "cpu")
    shares = found["per_image_s"]
    assert 0 < shares["p50"] <= shares["p90"] <= shares["p99"] < found["first_picture_s"]
    assert sum(found["phases_s"].values()) == pytest.approx(shares["p50"], rel=0.5)
    assert found["first_phases_s"]["load"] > 0 == found["phases_s"]["load"]
    assert found["step_ms"] == pytest.approx(1000 * found["phases_s"]["sample"] / 2)
    assert found["peak_host_bytes"] is None or found["peak_host_bytes"] > 100 << 20
    assert found["distance"] is found["peak_device_bytes"] is None
    for word in ("p50", "a step", "phases", "first picture", "peak memory"):
        assert word in result.stdout

    reference = next((bench / "output").glob("*.png"))
    again = comfyc("bench", bench / "demo.plan", "--repeat", "1", "--reference", reference, *out)
    assert "inf dB, at most 0 of 255" in again.stdout
    other = comfyc("bench", bench / "demo.plan", "--repeat", "1", "--reference", reference, *out, "--set", "3.seed=2")
    assert other.exit_code == 0
    assert "inf dB" not in other.stdout


def test_a_batch_is_measured_by_picture(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYC_CACHE", str(bench / "store"))
    options = ("--batch", "2", "--repeat", "2", "-o", bench / "two", "--set", "3.steps=2", "--json", bench / "two.json")
    assert comfyc("bench", bench / "demo.plan", *options).exit_code == 0
    found = json.loads((bench / "two.json").read_text())
    assert found["images_per_run"] == 2
    assert found["images_per_s"] == pytest.approx(1 / found["per_image_s"]["p50"], rel=0.5)
    assert found["params"]["5.batch_size"] == 2


def test_what_a_plan_was_compiled_with_is_refused(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYC_CACHE", str(bench / "store"))
    result = comfyc("bench", bench / "demo.plan", "--precision", "fp16")
    assert result.exit_code == 2
    assert "--precision is decided when a workflow is compiled" in result.stderr
    result = comfyc("bench", bench / "demo.plan", "--reference", bench / "nothing.png")
    assert result.exit_code == 2


def test_quantiles() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.9, 1.0)] == [1.0, 2.0, 3.0, 3.0]
    assert quantile([5.0], 0.99) == 5.0


def test_sizes_need_a_parameter() -> None:
    assert sized(Program(()), None, None, None) == {}
    with pytest.raises(UsageError, match="batch_size"):
        sized(Program(()), None, None, 4)


def test_distance_of_pictures(tmp_path: Path) -> None:
    for name, level in (("a", 100), ("b", 110)):
        Image.new("RGB", (4, 4), (level, level, level)).save(tmp_path / f"{name}.png")
    Image.new("RGB", (4, 8)).save(tmp_path / "c.png")
    found = distance(tmp_path / "a.png", tmp_path / "b.png")
    assert found == {"psnr_db": pytest.approx(10 * math.log10(255**2 / 100)), "largest": 10.0}
    assert distance(tmp_path / "a.png", tmp_path / "a.png")["psnr_db"] == math.inf
    with pytest.raises(UsageError, match="another size"):
        distance(tmp_path / "a.png", tmp_path / "c.png")
    assert set(PHASES) >= {"load", "sample", "decode"}
