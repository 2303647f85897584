"""Situations of public bug reports that no test of a part covers: those stand beside the code that they are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graphs.examples import example
from tests.e2e.commands import comfyc

Json = Any


def as_saved(prefix: str, bypassed: str = "") -> Json:
    """The LoRA example as the front end saves it: titles that nobody changed are not written."""
    file: Json = json.loads(example("lora").read_text("utf-8"))
    for node in file["nodes"]:
        node.pop("title", None)
        node.setdefault("properties", {})["Node name for S&R"] = node["type"]
        if node["type"] == "SaveImage":
            node["widgets_values"] = [prefix]
        if node["type"] == "EmptyLatentImage":
            node["widgets_values"] = [640, 448, 1]
        if node["type"] == bypassed:
            node["mode"] = 4
    return file


@pytest.mark.parametrize(
    ("prefix", "bypassed", "becomes"),
    [
        ("%Empty Latent Image.width%x%Empty Latent Image.height%", "", "640x448"),
        ("%EmptyLatentImage.width%", "", "640"),
        ("%LoraLoader.strength_model%", "LoraLoader", "0.8"),
        ("%Load LoRA (Model and CLIP).strength_model%", "LoraLoader", "0.8"),
        ("%Load Checkpoint.ckpt_name%", "", "v1-5-pruned-emaonly.safetensors"),
    ],
)
def test_a_prefix_names_a_node_by_what_the_browser_shows(
    tmp_path: Path, prefix: str, bypassed: str, becomes: str
) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(as_saved(prefix, bypassed)), "utf-8")
    done = comfyc("convert", file)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["9"]["inputs"]["filename_prefix"] == becomes


def test_a_link_to_a_model_that_was_moved_is_just_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "whole.safetensors").write_bytes(b"")
    (folder / "moved.safetensors").symlink_to(tmp_path / "nowhere.safetensors")
    (folder / "circle.safetensors").symlink_to(folder / "circle.safetensors")
    file = tmp_path / "a.json"
    prompt: Json = json.loads(example("default", api=True).read_text("utf-8"))
    prompt["4"]["inputs"]["ckpt_name"] = "moved.safetensors"
    file.write_text(json.dumps(prompt), "utf-8")
    models = tmp_path / "models"
    listed = comfyc("models", "list", "--models", models)
    assert listed.exit_code == 0
    assert "whole.safetensors" in listed.stdout
    assert "moved" not in listed.stdout
    assert comfyc("models", "list", "--models", models, "--json").exit_code == 0
    assert comfyc("doctor", "--models", models).exit_code in (0, 5)
    checked, run = comfyc("check", file, "--models", models), comfyc("run", file, "--models", models, "-o", tmp_path)
    assert (checked.exit_code, run.exit_code) == (4, 4)  # they agree
    assert "moved.safetensors" in run.stderr
