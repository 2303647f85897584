"""The recorded cases as data: files, bounds and groups; what counts as not compiled yet; results that are kept."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from graphs.errors import CheckpointError, ModelMissingError, Problem, WorkflowError
from tests.parity.case_run import NOT_YET, OFF, OK, Result, run_case
from tests.parity.cases import ADAPTIVE_LATENT_BOUND, LATENT_BOUND, NOISY_LATENT_BOUND, all_cases, case
from tests.parity.comparison import Distance
from tests.parity.layouts.files import FILES, layout_of
from tests.parity.make_ckpt import size_bytes, write, write_stand_in
from tests.parity.not_yet import reason_not_yet
from tests.parity.results import append, appended, compiled_before, save

TAESD, REFINER = "vae_approx/taesd_encoder.safetensors", "checkpoints/sdxl_refiner.safetensors"

UNRECORDED = "loras/lora_sdxl.safetensors"  # ComfyUI's picture with it is not among the recorded ones


def test_every_case_wrote_something_and_every_model_file_is_of_a_case() -> None:
    cases = all_cases()
    assert len({c.id for c in cases}) == len(cases)
    assert all(c.latents or c.pictures for c in cases)
    assert {name for c in cases for name in c.files} == set(FILES) - {UNRECORDED}


@pytest.mark.parametrize(
    ("name", "files", "group"),
    [
        ("image_scale_up_area", (), "sd15"),
        ("embedding_pt", ("checkpoints/sd15.safetensors", "embeddings/emb_b.pt"), "sd15"),
        ("sdxl_embedding", ("checkpoints/sdxl.safetensors", "embeddings/emb_xl.safetensors"), "sdxl"),
        ("refiner_txt2img", (REFINER,), "sdxl"),
        ("sd21v_euler", ("checkpoints/sd21_768v.safetensors",), "sd2"),
    ],
)
def test_files_and_group_of_a_case(name: str, files: tuple[str, ...], group: str) -> None:
    assert (case(name).files, case(name).group) == (files, group)


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("sampler_euler_normal", LATENT_BOUND),
        ("sampler_seeds_2_normal", NOISY_LATENT_BOUND),
        ("custom_samplerdpmpp_2m_sde", NOISY_LATENT_BOUND),
        ("sampler_dpm_adaptive_normal", ADAPTIVE_LATENT_BOUND),
        ("custom_samplerdpmadaptative", ADAPTIVE_LATENT_BOUND),
    ],
)
def test_bound_of_a_case(name: str, bound: float) -> None:
    assert case(name).latent_bound == bound


def test_the_generator_writes_the_recorded_bytes(tmp_path: Path) -> None:
    """write() compares the hash itself."""
    assert write(tmp_path, TAESD)["bytes"] == size_bytes(TAESD)


def test_a_stand_in_has_the_size_of_the_file_and_takes_no_space(tmp_path: Path) -> None:
    write_stand_in(tmp_path / REFINER, layout_of(REFINER))
    found = (tmp_path / REFINER).stat()
    assert found.st_size == size_bytes(REFINER) == 6_075_944_048
    assert found.st_blocks * 512 < 1_000_000


def test_a_filled_stand_in_holds_finite_numbers(tmp_path: Path) -> None:
    write_stand_in(tmp_path / "filled.safetensors", layout_of(TAESD), filled=True)
    tensors = load_file(tmp_path / "filled.safetensors")
    assert set(tensors) == set(layout_of(TAESD).tensors)
    assert all(np.isfinite(t).all() and t.std() > 0.01 for t in tensors.values() if t.size > 1000)


def test_reasons_are_the_errors_own() -> None:
    unsupported = Problem("unsupported", "not compiled yet", node_id="4", class_type="FreeU")
    other = Problem("required_input_missing", "missing", node_id="5", class_type="VAEDecode")
    assert reason_not_yet(WorkflowError("two problems", (unsupported, other))) == "FreeU"
    assert reason_not_yet(WorkflowError("one problem", (other,))) is None
    foreign = CheckpointError("not compiled yet", where="/models/a.safetensors", expected="SDXL", got="Flux")
    assert reason_not_yet(foreign) == "not compiled yet: expected SDXL, got Flux"
    assert reason_not_yet(ModelMissingError("a model file is missing")) is None


def test_a_case_whose_files_are_absent_is_off_and_says_which(tmp_path: Path) -> None:
    """Stand-ins show that nothing but the files is in its way."""
    result = run_case(case("vae_alt_roundtrip"), "eager", tmp_path)
    assert result.status == OFF
    assert "vae/vae_alt.safetensors not in" in result.distance.problem


def test_results_of_a_killed_run_are_read_again(tmp_path: Path) -> None:
    ok = Result("a", OK, Distance(1e-5, 1, 70.0), 1.0, 2.0, flips=("204.9",), peak_rss_bytes=1 << 30)
    off = Result("b", OFF, Distance(math.inf, 255, 0.0, "lost"), latent_as_run=math.inf)
    for result in (ok, off):
        append(tmp_path / "lines", result)
    with (tmp_path / "lines").open("a") as stream:
        stream.write('{"case": "c", "sta')
    assert appended(tmp_path / "lines") == {"a": ok, "b": off}


def test_what_was_within_bounds_is_remembered(tmp_path: Path) -> None:
    results = [Result("a", OK, Distance()), Result("b", NOT_YET, Distance(), reason="FreeU")]
    save(tmp_path / "kept.json", "eager", "sd15", [*results, replace(results[0], case="c", status=OFF)])
    assert compiled_before(tmp_path / "kept.json") == {"a"}
    document = json.loads((tmp_path / "kept.json").read_text())
    assert (document["ok"], document["not_yet"], len(document["cases"])) == (1, 1, 3)
