"""The default workflow as a plan, on fake engines: lowered, written, opened, run, its picture read back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from safetensors.torch import load_file

from graphs.errors import DeviceError, PlanError, RunError, UsageError
from graphs.plan import Profile
from runtime.context import Interrupted
from runtime.session import RunResult, Session
from runtime.store import Store
from runtime.values import SavedFile
from tests.runtime.fake_backend import FakeBackend, default_prompt, write_plan


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def fake() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def session(tmp_path: Path, store: Store, fake: FakeBackend) -> Iterator[Session]:
    write_plan(tmp_path / "plan", store)
    with opened(tmp_path, store, fake) as session:
        yield session


def opened(root: Path, store: Store, fake: FakeBackend) -> Session:
    return Session.open(root / "plan", store=store, backend=lambda name: {"fake": fake}[name])


def run(session: Session, root: Path, params: dict[str, Any] | None = None, **more: Any) -> RunResult:
    return session.run(
        params, input_dir=root / "input", output_dir=root / "output", temp_dir=root / "temp", **more
    )


def pixels(result: RunResult) -> list[Any]:
    return [picture_of(file).tolist() for file in result.files]


def picture_of(file: SavedFile) -> np.typing.NDArray[np.uint8]:
    with Image.open(file.path) as picture:
        return np.asarray(picture)


def test_the_default_workflow_writes_comfyuis_file(session: Session, tmp_path: Path, fake: FakeBackend) -> None:
    result = run(session, tmp_path)
    (file,) = result.files
    assert (file.filename, file.subfolder, file.type, file.kind) == ("ComfyUI_00001_.png", "", "output", "images")
    assert Path(file.path) == tmp_path / "output" / "ComfyUI_00001_.png"
    with Image.open(file.path) as picture:
        assert isinstance(picture, PngImageFile)
        assert (picture.size, picture.mode) == ((64, 64), "RGB")
        assert list(picture.text) == ["prompt"]
        assert json.loads(picture.text["prompt"]) == default_prompt()
    assert fake.loaded == ["unet", "vae_decoder"]  # the text is folded: its encoder is not needed
    steps = ["5.empty_latent", "3.make_sigmas", "3.make_noise", "3.sampler", "3.entry", "3.entry.2", "3.guide"]
    assert list(result.step_ms) == [*steps, "3.sample", "8.decode_latent", "9.image_to_u8", "9.save_image"]
    assert result.seconds["run"] > 0
    assert result.params["3.seed"] == 156680208700286
    assert result.peak_rss_bytes is None or result.peak_rss_bytes > 10_000_000


def test_runs_are_repeatable_and_count_on(session: Session, tmp_path: Path, fake: FakeBackend) -> None:
    first, second = run(session, tmp_path), run(session, tmp_path)
    assert pixels(first) == pixels(second)
    assert second.files[0].filename == "ComfyUI_00002_.png"
    assert len(fake.loaded) == 2  # engines stay
    assert second.seconds["load"] == 0


def test_parameters_change_the_picture_and_its_metadata(session: Session, tmp_path: Path) -> None:
    plain = run(session, tmp_path)
    changed = run(session, tmp_path, {"3.seed": "7", "3.steps": 2, "5.width": 128, "5.batch_size": 2})
    assert len(changed.files) == 2
    with Image.open(changed.files[0].path) as picture:
        assert isinstance(picture, PngImageFile)
        assert picture.size == (128, 64)
        embedded = json.loads(picture.text["prompt"])
    expected = default_prompt()
    expected["3"]["inputs"] |= {"seed": 7, "steps": 2}
    expected["5"]["inputs"] |= {"width": 128, "batch_size": 2}
    assert embedded == expected
    assert pixels(plain)[0] != pixels(run(session, tmp_path, {"3.seed": 8}))[0]
    assert pixels(plain)[0] == pixels(run(session, tmp_path, {"3.seed": 156680208700286}))[0]


def test_a_changed_text_is_encoded_and_only_that(session: Session, tmp_path: Path, fake: FakeBackend) -> None:
    result = run(session, tmp_path, {"6.text": "a wolf"})
    assert fake.loaded == ["clip_l", "unet", "vae_decoder"]
    assert [name for name in result.step_ms if name.endswith("encode_text")] == ["6.encode_text"]


def test_folding_changes_nothing_but_what_is_computed(tmp_path: Path, store: Store, fake: FakeBackend) -> None:
    write_plan(tmp_path / "plan", store, fold=False)
    with opened(tmp_path, store, fake) as session:
        once = run(session, tmp_path)
        again = run(session, tmp_path, {"6.text": "a fox"})
        assert list(once.step_ms) == list(again.step_ms)
        assert once.step_ms.keys() >= {"6.encode_text", "7.encode_text"}
        assert pixels(once) == pixels(again)
        assert fake.loaded == ["clip_l", "unet", "vae_decoder"]


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"3.sed": 1}, "3.sed: no such parameter, did you mean 3.seed?"),
        ({"6.cfg": 1}, "6.cfg: no such parameter, did you mean 3.cfg?"),
        ({"zzz": 1}, "zzz: no such parameter, the plan has"),
        ({"4.ckpt_name": "b"}, "4.ckpt_name: fixed in this plan; change it in the workflow and compile again"),
        ({"3.model": "b"}, "3.model: a link, its value comes from node 4"),
        ({"3.steps": "many"}, "3.steps: expected a whole number, got 'many'"),
        ({"3.steps": 0}, "3.steps: expected 1 to 10000, got 0"),
        ({"3.scheduler": "fast"}, "3.scheduler: expected one of simple, sgm_uniform"),
        ({"3.steps": 0, "3.cfg": "x"}, "3.steps: expected 1 to 10000, got 0; 3.cfg: expected a number, got 'x'"),
        (
            {"5.width": 2048},
            "5.width: width 2048 is outside what the plan was compiled for, 64 to 1024; compile with --size 64..2048",
        ),
        (
            {"5.batch_size": 5},
            "5.batch_size: batch 5 is outside what the plan was compiled for, 1 to 4; compile with --batch 1:5",
        ),
    ],
)
def test_wrong_parameters_are_told(session: Session, tmp_path: Path, params: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(session, tmp_path, params)
    assert str(caught.value).startswith(complaint)
    assert not (tmp_path / "output").exists()


def test_sizes_that_only_show_while_running_are_checked(tmp_path: Path, store: Store, fake: FakeBackend) -> None:
    prompt = default_prompt()
    prompt["10"] = {
        "class_type": "LatentUpscaleBy",
        "inputs": {"samples": ["5", 0], "upscale_method": "bilinear", "scale_by": 1.0},
    }
    prompt["3"]["inputs"]["latent_image"] = ["10", 0]
    write_plan(tmp_path / "plan", store, prompt=prompt, profile=Profile(height=(64, 128), width=(64, 128)))
    with opened(tmp_path, store, fake) as session:
        assert run(session, tmp_path, {"10.scale_by": 2}).files
        with pytest.raises(RunError, match=r"node 3: height 256 is outside .*; compile with --size 64\.\.256"):
            run(session, tmp_path, {"10.scale_by": 4})


def test_progress_steps_and_cancelling(session: Session, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    steps: list[str] = []

    def progress(what: str, done: int, total: int) -> bool:
        seen.append((what, done, total))
        return True

    run(session, tmp_path, progress=progress, on_step=lambda step: steps.append(step.id))
    assert seen[-1] == ("sample (node 3)", 3, 3)
    assert steps[0] == "5.empty_latent"
    with pytest.raises(Interrupted):
        run(session, tmp_path, progress=lambda what, done, total: done < 2)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match=r"before step 5\.empty_latent"):
        run(session, tmp_path, cancel=stop)
    assert len(list((tmp_path / "output").iterdir())) == 1  # nothing of the cancelled runs
    assert run(session, tmp_path).files  # and the session goes on


def test_close_frees_the_engines_once(session: Session, tmp_path: Path, fake: FakeBackend) -> None:
    run(session, tmp_path)
    session.close()
    session.close()
    assert sorted(fake.closed) == ["unet", "vae_decoder"]
    with pytest.raises(RunError, match="the session is closed; open the plan again"):
        run(session, tmp_path)


def test_close_waits_for_the_run_at_work(session: Session, tmp_path: Path, fake: FakeBackend) -> None:
    sampling, go_on = threading.Event(), threading.Event()

    def progress(what: str, done: int, total: int) -> bool:
        sampling.set()
        return go_on.wait(20)

    results: list[RunResult] = []
    runner = threading.Thread(target=lambda: results.append(run(session, tmp_path, progress=progress)))
    runner.start()
    assert sampling.wait(20)
    closer = threading.Thread(target=session.close)
    closer.start()
    assert fake.closed == []
    go_on.set()
    for thread in (runner, closer):
        thread.join(20)
    assert len(results[0].files) == 1
    assert sorted(fake.closed) == ["unet", "vae_decoder"]


def test_runs_of_several_threads_give_what_one_gives(session: Session, tmp_path: Path, fake: FakeBackend) -> None:
    results: list[RunResult] = []
    threads = [threading.Thread(target=lambda: results.append(run(session, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.files[0].filename for r in results) == [f"ComfyUI_0000{n}_.png" for n in (1, 2, 3, 4)]
    assert len({json.dumps(pixels(r)) for r in results}) == 1
    assert fake.loaded == ["unet", "vae_decoder"]


def test_engines_that_cannot_run_here_are_told_at_once(tmp_path: Path, store: Store) -> None:
    write_plan(tmp_path / "plan", store)
    with pytest.raises(DeviceError, match=r"engines are for fake, which cannot run here: no fake device; buy one"):
        opened(tmp_path, store, FakeBackend(can_run=False))
    with pytest.raises(PlanError, match="another machine or library version: expected fake 2 fp32, got fake 1 fp32"):
        opened(tmp_path, store, FakeBackend(version="2"))


def test_engines_that_are_gone_or_others_are_told_at_once(tmp_path: Path, store: Store, fake: FakeBackend) -> None:
    write_plan(tmp_path / "plan", store)
    with pytest.raises(PlanError, match="is not in the store; compile the workflow again"):
        opened(tmp_path, Store(tmp_path / "other"), fake)
    other = Store(tmp_path / "third")
    for entry in store.ls():
        other.put(entry.key, entry.path.read_bytes() + b"!")
    with pytest.raises(PlanError, match="has changed since the plan was made"):
        opened(tmp_path, other, fake)


def test_threads_reach_the_backend(tmp_path: Path, store: Store, fake: FakeBackend) -> None:
    write_plan(tmp_path / "plan", store)
    with Session.open(tmp_path / "plan", store=store, backend=lambda name: fake, threads=3) as session:
        run(session, tmp_path)
    assert fake.threads == {3}


def test_image_to_latent_files_and_previews(tmp_path: Path, store: Store, fake: FakeBackend) -> None:
    """A workflow without a model at all, on every file op."""
    (tmp_path / "input").mkdir()
    Image.new("RGB", (40, 30), (255, 0, 0)).save(tmp_path / "input" / "red.png")
    Image.new("RGB", (20, 10), (0, 255, 0)).save(tmp_path / "input" / "green.png")
    prompt: dict[str, Any] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "red.png"}},
        "2": {
            "class_type": "ImageScaleBy",
            "inputs": {"image": ["1", 0], "upscale_method": "lanczos", "scale_by": 2.0},
        },
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 80, "batch_size": 2}},
        "5": {"class_type": "SaveLatent", "inputs": {"samples": ["4", 0], "filename_prefix": "latents/x"}},
    }
    write_plan(tmp_path / "plan", store, prompt=prompt)
    with opened(tmp_path, store, fake) as session:
        preview, latent = run(session, tmp_path).files
        assert (preview.type, preview.kind, preview.node) == ("temp", "images", "3")
        assert picture_of(preview).shape == (60, 80, 3)
        assert (latent.subfolder, latent.filename) == ("latents", "x_00001_.latent")
        assert load_file(latent.path)["latent_tensor"].shape == (2, 4, 10, 8)
        green = run(session, tmp_path, {"1.image": "green.png"}).files[0]
        with Image.open(green.path) as picture:
            assert picture.getpixel((0, 0)) == (0, 255, 0)
            assert isinstance(picture, PngImageFile)
            assert json.loads(picture.text["prompt"])["1"]["inputs"]["image"] == "green.png"
        with pytest.raises(RunError, match="lies outside the input folder"):
            run(session, tmp_path, {"1.image": "../plan/plan.json"})
        assert torch.is_inference_mode_enabled() is False


def test_a_damaged_plan_is_not_opened(tmp_path: Path, store: Store, fake: FakeBackend) -> None:
    plan = write_plan(tmp_path / "plan", store)
    document = json.loads((tmp_path / "plan" / "plan.json").read_text())
    document["bindings"].pop("unet")
    (tmp_path / "plan" / "plan.json").write_text(json.dumps(document))
    with pytest.raises(PlanError, match="expected the sum that it was written with"):
        opened(tmp_path, store, fake)
    assert replace(plan, bindings={}) != plan
