from __future__ import annotations

import logging
from pathlib import Path

import pytest

from graphs.errors import ModelMissingError, UsageError
from runtime.folders import Folders


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return put(
        tmp_path / "models",
        "checkpoints/sd15.safetensors",
        "checkpoints/anime/Mix.ckpt",
        "checkpoints/notes.txt",
        "checkpoints/.hidden.safetensors",
        "clip/clip_l.safetensors",
        "text_encoders/clip_g.safetensors",
        "unet/old.safetensors",
        "diffusion_models/new.safetensors",
        "embeddings/easy.safetensors",
        "embeddings/sub/bad.pt",
    )


def test_list_gives_widget_names_of_old_and_new_folders(models: Path) -> None:
    folders = Folders.of([models])
    assert folders.list("checkpoints") == ("anime/Mix.ckpt", "sd15.safetensors")
    assert folders.list("text_encoders") == folders.list("clip") == ("clip_g.safetensors", "clip_l.safetensors")
    assert folders.list("unet") == ("new.safetensors", "old.safetensors")
    assert folders.list("vae") == ()


def test_embeddings_are_named_without_suffix(models: Path) -> None:
    found = Folders.of([models]).embeddings()
    assert list(found) == ["easy", "sub/bad"]
    assert found["sub/bad"] == models / "embeddings/sub/bad.pt"


def test_find_exact_and_backslash(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = Folders.of([models])
    assert folders.find("checkpoints", "sd15.safetensors") == models / "checkpoints/sd15.safetensors"
    assert folders.find("checkpoints", "anime\\Mix.ckpt") == models / "checkpoints/anime/Mix.ckpt"
    assert caplog.records == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SD15.safetensors", "sd15.safetensors"),
        ("ANIME/mix.CKPT", "anime/Mix.ckpt"),
        ("mix.ckpt", "anime/Mix.ckpt"),
        ("other/sd15.safetensors", "sd15.safetensors"),
    ],
)
def test_find_other_case_or_folder_warns(models: Path, caplog: pytest.LogCaptureFixture, name: str, found: str) -> None:
    with caplog.at_level(logging.WARNING):
        assert Folders.of([models]).find("checkpoints", name) == models / "checkpoints" / found
    assert len(caplog.records) == 1
    assert found in caplog.text


def test_two_files_of_one_base_name_are_not_guessed(models: Path) -> None:
    put(models, "checkpoints/a/same.safetensors", "checkpoints/b/same.safetensors")
    with pytest.raises(ModelMissingError, match=r"a/same\.safetensors.*b/same\.safetensors"):
        Folders.of([models]).find("checkpoints", "c/same.safetensors")


def test_missing_names_near_misses_folders_and_what_to_do(models: Path) -> None:
    with pytest.raises(ModelMissingError) as caught:
        Folders.of([models]).find("checkpoints", "sd1.5.safetensors")
    text = str(caught.value)
    assert "checkpoint 'sd1.5.safetensors'" in text
    assert "'sd15.safetensors'" in text
    assert str(models / "checkpoints") in text
    assert "--models" in text
    assert caught.value.exit_code == 4


def test_missing_without_any_folder_says_so() -> None:
    with pytest.raises(ModelMissingError, match="no folder for LoRA files"):
        Folders().find("loras", "x.safetensors")


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "C:\\models\\x.ckpt", "", "a/../../b.ckpt"])
def test_names_outside_the_folders_are_refused(models: Path, name: str) -> None:
    put(models.parent, "secret.safetensors")
    with pytest.raises(ModelMissingError, match="not a name inside"):
        Folders.of([models]).find("checkpoints", name)


def test_comfyui_installation(tmp_path: Path) -> None:
    home = put(
        tmp_path / "ComfyUI",
        "models/checkpoints/a.ckpt",
        "input/picture.png",
        "input/sub/no.png",
        "output/o.png",
        "main.py",
    )
    for root in (home, home / "models"):
        folders = Folders.of([root])
        assert folders.list("checkpoints") == ("a.ckpt",)
        assert folders.input_dir == home / "input"
        assert folders.output_dir == home / "output"
        assert folders.list("input") == ("picture.png",)


def test_earlier_roots_win(models: Path, tmp_path: Path) -> None:
    second = put(tmp_path / "second", "checkpoints/sd15.safetensors", "checkpoints/more.safetensors")
    folders = Folders.of([models, second])
    assert folders.find("checkpoints", "sd15.safetensors").is_relative_to(models)
    assert folders.find("checkpoints", "more.safetensors").is_relative_to(second)


def test_extra_model_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(
        tmp_path / "webui",
        "models/Stable-diffusion/a.ckpt",
        "models/Lora/l.safetensors",
        "models/LyCORIS/m.safetensors",
    )
    put(tmp_path / "fast", "ckpt/a.ckpt", "enc/t.safetensors")
    monkeypatch.setenv("FAST", str(tmp_path / "fast"))
    file = tmp_path / "extra_model_paths.yaml"
    file.write_text(
        "a111:\n    base_path: webui\n    checkpoints: models/Stable-diffusion\n"
        "    loras: |\n        models/Lora\n        models/LyCORIS\n"
        "fast:\n    is_default: true\n    base_path: $FAST\n    checkpoints: ckpt\n    clip: enc\n"
        "empty:\n"
    )
    folders = Folders.of([file])
    assert folders.find("checkpoints", "a.ckpt") == tmp_path / "fast/ckpt/a.ckpt"
    assert folders.list("loras") == ("l.safetensors", "m.safetensors")
    assert folders.list("text_encoders") == ("t.safetensors",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [b", "not valid YAML"),
        ("- a", "not an extra_model_paths"),
        ("a: b", "section 'a'"),
        ("a:\n  loras: 3", "'loras' is not a path"),
    ],
)
def test_bad_extra_model_paths(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        Folders.of([file])


def test_root_that_is_not_there_or_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        Folders.of([tmp_path / "no"])
    with pytest.raises(UsageError, match="cannot be read"):
        Folders.of([tmp_path / "no.yaml"])
    with pytest.raises(UsageError, match="is a file"):
        Folders.of([put(tmp_path, "x.ckpt") / "x.ckpt"])


def test_link_back_up_ends(models: Path) -> None:
    (models / "checkpoints" / "loop").symlink_to(models / "checkpoints", target_is_directory=True)
    assert Folders.of([models]).list("checkpoints") == ("anime/Mix.ckpt", "sd15.safetensors")


def test_default_reads_the_environment(models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMFYC_MODELS", str(models))
    assert Folders.default().roots == (models,)
    monkeypatch.delenv("COMFYC_MODELS")
    monkeypatch.chdir(tmp_path)
    assert Folders.default().list("checkpoints") == ("anime/Mix.ckpt", "sd15.safetensors")
    monkeypatch.chdir(models / "vae" if (models / "vae").exists() else models)
    assert Folders.default() == Folders()
