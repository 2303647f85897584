"""Saved files: names, counters, folders, metadata; nothing is ever written over."""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from safetensors import safe_open
from safetensors.torch import save_file

from graphs.errors import RunError
from runtime.context import OpContext
from runtime.ops.files import load_latent, preview_image, save_image, save_latent
from runtime.values import Latent, SavedFile
from tests.runtime.op_context import context

PIXELS = torch.arange(2 * 4 * 6 * 3, dtype=torch.uint8).reshape(2, 4, 6, 3)
PROMPT = {"9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "grün"}}}
WORKFLOW = {"nodes": [{"id": 9, "type": "SaveImage"}], "version": 0.4}


@pytest.fixture
def ctx(tmp_path: Path) -> OpContext:
    return context(tmp_path, prompt=PROMPT, workflow=WORKFLOW)


def names(files: Sequence[SavedFile]) -> list[str]:
    return [f.filename for f in files]


def test_names_count_on_through_batches_and_runs(ctx: OpContext) -> None:
    first = save_image(ctx, PIXELS, "ComfyUI")
    assert names(first) == ["ComfyUI_00001_.png", "ComfyUI_00002_.png"]
    assert first[0] == SavedFile(
        "9", "images", "ComfyUI_00001_.png", "", "output", str(ctx.output_dir / "ComfyUI_00001_.png")
    )
    assert names(save_image(ctx, PIXELS[:1], "ComfyUI")) == ["ComfyUI_00003_.png"]


@pytest.mark.parametrize(
    ("present", "following"),
    [
        ([], 1),
        (["fox_00007_.png", "fox_00003_.png"], 8),
        (["fox_00012_.latent"], 13),
        (["fox_100000_.png"], 100001),
        (["fox_9.png", "fox_x_.png", "fox.png", "foxes_00005_.png", "a_fox_00005_.png"], 1),
        (["fox_00004_extra_00009_.png"], 5),
        (["fox_-3_.png", "fox_²_.png"], 1),
    ],
)
def test_the_counter_is_one_more_than_the_highest(ctx: OpContext, present: list[str], following: int) -> None:
    ctx.output_dir.mkdir()
    for name in present:
        (ctx.output_dir / name).touch()
    assert names(save_image(ctx, PIXELS[:1], "fox")) == [f"fox_{following:05}_.png"]


def test_pixels_and_metadata_read_back(ctx: OpContext) -> None:
    (file,) = save_image(ctx, PIXELS[:1], "a")
    with Image.open(file.path) as picture:
        assert isinstance(picture, PngImageFile)
        assert np.asarray(picture).tolist() == PIXELS[0].tolist()
        text = picture.text
    assert list(text) == ["prompt", "workflow"]
    assert json.loads(text["prompt"]) == PROMPT
    assert json.loads(text["workflow"]) == WORKFLOW
    content = Path(file.path).read_bytes()
    assert b"tEXtprompt\0" in content
    assert b"gr\\u00fcn" in content


def test_without_metadata_there_is_none(tmp_path: Path) -> None:
    (file,) = save_image(context(tmp_path), PIXELS[:1], "a")
    with Image.open(file.path) as picture:
        assert picture.info == {}


def test_prefixes_make_folders_and_fill_tokens(ctx: OpContext) -> None:
    files = save_image(ctx, PIXELS, "a/b//%width%x%height%_%batch_num%")
    assert [(f.subfolder, f.filename) for f in files] == [("a/b", "6x4_0_00001_.png"), ("a/b", "6x4_1_00002_.png")]
    (dated,) = save_image(ctx, PIXELS[:1], "%year%-%month%-%day%_%hour%%minute%%second%/x")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d{6}", dated.subfolder)
    assert (ctx.output_dir / dated.subfolder / dated.filename).is_file()


def test_batch_numbers_never_write_over_older_pictures(ctx: OpContext) -> None:
    save_image(ctx, PIXELS, "x%batch_num%")
    assert names(save_image(ctx, PIXELS, "x%batch_num%")) == ["x0_00002_.png", "x1_00003_.png"]


@pytest.mark.parametrize("prefix", ["../x", "/tmp/x", "a/../../x", "a\0b"])
def test_prefixes_that_leave_the_folder_are_refused(ctx: OpContext, prefix: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="lies outside the folder that pictures are saved to"):
        save_image(ctx, PIXELS, prefix)
    assert not (tmp_path / "x_00001_.png").exists()


def test_a_folder_that_cannot_be_made_is_told(ctx: OpContext) -> None:
    ctx.output_dir.parent.mkdir(exist_ok=True)
    ctx.output_dir.write_text("a file")
    with pytest.raises(RunError, match="cannot make the folder"):
        save_image(ctx, PIXELS, "x")


def test_a_name_that_the_disk_refuses_is_told(ctx: OpContext) -> None:
    with pytest.raises(RunError, match="the file name would be too long"):
        save_image(ctx, PIXELS, "x" * 300)


def test_previews_go_to_temp_under_a_name_of_their_own(ctx: OpContext) -> None:
    one, two = preview_image(ctx, PIXELS[:1])[0], preview_image(ctx, PIXELS[:1])[0]
    for file in (one, two):
        assert re.fullmatch(r"ComfyUI_temp_[a-z]{5}_00001_\.png", file.filename)
        assert (file.type, file.kind, Path(file.path).parent) == ("temp", "images", ctx.temp_dir)
    assert one.filename != two.filename


def test_latents_read_back(ctx: OpContext) -> None:
    samples = torch.randn(2, 4, 8, 8)
    (file,) = save_latent(ctx, Latent(samples), "latents/ComfyUI")
    assert (file.subfolder, file.filename, file.kind) == ("latents", "ComfyUI_00001_.latent", "latents")
    with safe_open(file.path, "pt") as opened:
        assert sorted(opened.keys()) == ["latent_format_version_0", "latent_tensor"]
        assert {k: json.loads(v) for k, v in opened.metadata().items()} == {"prompt": PROMPT, "workflow": WORKFLOW}
    assert torch.equal(load_latent(ctx, "latents/ComfyUI_00001_.latent [output]").samples, samples)


def test_old_latents_are_unscaled_on_the_way_in(ctx: OpContext) -> None:
    ctx.input_dir.mkdir()
    save_file({"latent_tensor": torch.full((1, 4, 2, 2), 0.18215)}, ctx.input_dir / "old.latent")
    assert torch.allclose(load_latent(ctx, "old.latent").samples, torch.ones(1, 4, 2, 2))


def test_files_that_are_no_latents_are_told(ctx: OpContext) -> None:
    ctx.input_dir.mkdir()
    (ctx.input_dir / "a.latent").write_bytes(b"no")
    save_file({"x": torch.zeros(1)}, ctx.input_dir / "b.latent")
    with pytest.raises(RunError, match="cannot read"):
        load_latent(ctx, "a.latent")
    with pytest.raises(RunError, match="holds no latent_tensor"):
        load_latent(ctx, "b.latent")
    with pytest.raises(RunError, match="is not in"):
        load_latent(ctx, "c.latent")


def _save_many(root: Path, colour: int) -> None:
    for _ in range(10):
        save_image(context(root), torch.full((1, 2, 2, 3), colour, dtype=torch.uint8), "race")


def test_writers_that_race_take_different_names(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_save_many, args=(tmp_path, colour)) for colour in (50, 100, 150)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    files = sorted((tmp_path / "output").iterdir())
    assert [f.name for f in files] == [f"race_{n:05}_.png" for n in range(1, 31)]
    colours = []
    for file in files:
        with Image.open(file) as picture:
            colours.append(int(np.asarray(picture)[0, 0, 0]))
    assert {c: colours.count(c) for c in set(colours)} == {50: 10, 100: 10, 150: 10}
