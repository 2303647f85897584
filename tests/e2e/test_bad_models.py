"""Model files that are cut, damaged or of the wrong kind: one message that names the file, and nothing in the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.synthetic import NARROW_VAE, write_checkpoint, write_lora
from tests.e2e.commands import comfyc
from tests.e2e.narrow import workflow, write_models
from tests.small_unet import WIDER


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def models(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for each test, with the whole files linked in."""
    folder = tmp_path / "models"
    for path in whole.rglob("*.safetensors"):
        target = folder / path.relative_to(whole)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    monkeypatch.setenv("COMFYC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COMFYC_MODELS", str(folder))
    return folder


def message_of(file: Path, tmp_path: Path) -> str:
    """What compiling says; it must fail with one line, and leave neither plan nor weights."""
    result = comfyc("compile", file, "-o", tmp_path / "plan", "--backend", "onnxruntime")
    assert result.exit_code == 1, result.stderr
    assert not (tmp_path / "plan").exists()
    assert list((tmp_path / "cache").glob("entries/weights-*")) == []
    (line,) = result.stderr.strip().splitlines()
    return line


def cut(path: Path, size: int) -> None:
    content = path.read_bytes()
    path.unlink()  # a link: the whole file stays as it is
    path.write_bytes(content[:size])


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: cut(path, 0),
    "seven bytes": lambda path: cut(path, 7),
    "half a header": lambda path: cut(path, 2000),
    "data cut short": lambda path: cut(path, -1000),
    "not safetensors": lambda path: replace(path, b"<html>not found</html>" * 100),
    "a huge header": lambda path: replace(path, b"\xff" * 4096),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named(damage: str, models: Path, tmp_path: Path) -> None:
    DAMAGE[damage](models / "checkpoints" / "first.safetensors")
    assert "first.safetensors" in message_of(workflow(tmp_path), tmp_path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_lora_is_named(damage: str, models: Path, tmp_path: Path) -> None:
    DAMAGE[damage](models / "loras" / "style.safetensors")
    assert "style.safetensors" in message_of_lora(workflow(tmp_path, strength=1.0), tmp_path)


def message_of_lora(file: Path, tmp_path: Path) -> str:
    """As message_of; the text encoder, which has no LoRA here, may be in the store already."""
    result = comfyc("compile", file, "-o", tmp_path / "plan", "--backend", "onnxruntime")
    assert result.exit_code == 1, result.stderr
    assert not (tmp_path / "plan").exists()
    (line,) = result.stderr.strip().splitlines()
    return line


def test_a_pickle_that_is_none_is_named(models: Path, tmp_path: Path) -> None:
    (models / "checkpoints" / "broken.ckpt").write_bytes(b"\x80\x04no pickle")
    assert "broken.ckpt" in message_of(workflow(tmp_path, "broken.ckpt"), tmp_path)


def test_a_lora_in_place_of_a_checkpoint(models: Path, tmp_path: Path) -> None:
    os.link(models / "loras" / "style.safetensors", models / "checkpoints" / "lora.safetensors")
    assert "lora.safetensors" in message_of(workflow(tmp_path, "lora.safetensors"), tmp_path)


def test_a_vae_in_place_of_a_checkpoint(models: Path, tmp_path: Path) -> None:
    write_checkpoint(models / "checkpoints" / "vae.safetensors", parts=("vae",), vae=NARROW_VAE)
    assert "vae.safetensors" in message_of(workflow(tmp_path, "vae.safetensors"), tmp_path)


def test_a_lora_of_another_architecture(models: Path, tmp_path: Path) -> None:
    (models / "loras" / "style.safetensors").unlink()
    write_lora(models / "loras" / "style.safetensors", unet=WIDER)
    message = message_of_lora(workflow(tmp_path, strength=1.0), tmp_path)
    assert "style.safetensors" in message
