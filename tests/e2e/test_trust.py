"""Plans of strangers are refused unless told; bits that flipped are found where that was asked for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from comfyc import load
from graphs.errors import PlanError, UsageError
from graphs.plan_json import content_sum, load_plan
from tests.e2e.commands import comfyc
from tests.e2e.narrow import workflow, write_models


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache, models, a workflow and its plan."""
    root = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFYC_CACHE", str(root / "cache"))
        patch.setenv("COMFYC_MODELS", str(write_models(root / "models")))
        done = comfyc("compile", workflow(root), "-o", root / "made.plan", "--backend", "onnxruntime")
        assert done.exit_code == 0, done.stderr
        yield root


def copied(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "made.plan", tmp_path / "a.plan"))


def change(plan: Path) -> None:
    """As somebody would who knows of the sum in plan.json."""
    document = json.loads((plan / "plan.json").read_text("utf-8"))
    document["program"]["parameters"]["3.steps"]["default"] = 1
    del document["sha256"]
    document["sha256"] = content_sum(document)
    (plan / "plan.json").write_text(json.dumps(document), "utf-8")


def test_a_plan_that_was_changed_runs_only_when_told(place: Path, tmp_path: Path) -> None:
    plan = copied(place, tmp_path)
    assert comfyc("run", plan, "-o", tmp_path).exit_code == 0  # a copy is as good
    change(plan)
    refused = comfyc("run", plan, "-o", tmp_path)
    assert refused.exit_code == 1
    assert "was not made here" in refused.stderr
    assert "--trust-plan" in refused.stderr
    assert comfyc("run", plan, "-o", tmp_path, "--trust-plan").exit_code == 0
    with pytest.raises(PlanError, match="not made here"):
        load(plan)
    load(plan, trust=True).close()


def test_a_plan_without_a_seal_or_with_another_is_a_stranger_s(place: Path, tmp_path: Path) -> None:
    plan = copied(place, tmp_path)
    for content in (None, b"", b"\xff\x00", b"0" * 64 + b"\n"):
        (plan / "seal").unlink(missing_ok=True)
        if content is not None:
            (plan / "seal").write_bytes(content)
        assert "not made here" in comfyc("run", plan, "-o", tmp_path).stderr


def test_the_store_of_somebody_else_does_not_vouch(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYC_CACHE", str(tmp_path / "other"))
    assert "not made here" in comfyc("run", place / "made.plan", "-o", tmp_path).stderr
    (key,) = (place / "cache").glob("plan-*.key")
    (tmp_path / "other").mkdir(exist_ok=True)
    shutil.copy(key, tmp_path / "other" / key.name)
    assert "not in the store" in comfyc("run", place / "made.plan", "-o", tmp_path).stderr  # the seal is right
    (tmp_path / "other" / key.name).chmod(0o644)  # others may have read it
    assert "not made here" in comfyc("run", place / "made.plan", "-o", tmp_path).stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("name", ["plan.json", "constants.safetensors", "seal"])
def test_a_pipe_in_a_plan_folder_is_not_waited_for(place: Path, tmp_path: Path, name: str) -> None:
    plan = copied(place, tmp_path)
    (plan / name).unlink()
    os.mkfifo(plan / name)
    with pytest.raises((PlanError, UsageError)):
        load(plan)
    if name != "seal":
        with pytest.raises(PlanError):
            load_plan(plan)


def picture(folder: Path) -> bytes:
    (file,) = folder.glob("*.png")
    with Image.open(file) as image:
        return image.tobytes()


def test_a_bit_that_flipped_with_the_file_s_time_kept(place: Path, tmp_path: Path) -> None:
    file = workflow(place)
    assert comfyc("run", file, "-o", tmp_path / "before", "--backend", "onnxruntime").exit_code == 0
    plan = load_plan(place / "made.plan")
    key = max((layer for b in plan.bindings.values() for layer in b.weights.layers), key=lambda w: w.size_bytes).key
    entry = place / "cache" / "entries" / key
    stat = entry.stat()
    content = bytearray(entry.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start + (len(content) - start) // 8 * 4 + 2] ^= 0x80  # an exponent's last bit: twice or half the weight
    entry.write_bytes(content)
    os.utime(entry, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    trusted = comfyc("run", place / "made.plan", "-o", tmp_path / "trusted")
    assert trusted.exit_code == 0  # docs/security.md: size and time are trusted
    found = comfyc("run", place / "made.plan", "-o", tmp_path / "found", "--verify-weights")
    assert found.exit_code == 1
    assert "damaged" in found.stderr
    assert key in found.stderr
    assert not entry.exists()
    again = comfyc("run", file, "-o", tmp_path / "again", "--backend", "onnxruntime", "--verify-weights")
    assert again.exit_code == 0, again.stderr
    assert picture(tmp_path / "again") == picture(tmp_path / "before")
    with load(place / "made.plan", verify_weights=True):
        pass  # the weights were made again, the same
