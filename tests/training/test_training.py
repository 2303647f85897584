"""The tiny setting is trained on a CPU from nothing to a file of each kind, in seconds."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from comfyc.demo_model import CONTOURS, OUTLINES, PASTEL, SHAPES, STARRY_NIGHT, TOKEN_TABLE
from training import pack, train_diffusion, train_extras, train_vae
from training.feed import Chunk, make_chunk
from training.model import PREFIXES, Diffusion, Vae, initialise, tiny
from training.probe import held_out
from training.sampling import load_model, sample
from training.state import load_parts, save_parts
from training.tokens import known
from training.train_diffusion import NAME, Training, arguments

STEPS = 4
BATCH = ("--batch", "8", "--workers", "0", "--tiny")


def few(seed: int, workers: int, pairs: float = 0.0) -> Iterator[Chunk]:
    """Chunks of 16 scenes instead of 2048."""
    assert workers == 0
    for number in count():
        yield make_chunk(np.random.default_rng((seed, number)), 16, pairs)


@pytest.fixture(scope="module", autouse=True)
def _small_and_by_the_step() -> Iterator[None]:
    """Small chunks, and a clock that goes on by a second whenever it is read: training is told its seconds, and so
    makes the same steps on every machine."""
    seconds = count()
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)), time=lambda: 1)
    with pytest.MonkeyPatch.context() as patch:
        for module in (train_vae, train_diffusion, train_extras):
            patch.setattr(module, "chunks", few)
            patch.setattr(module, "time", clock)
        patch.setattr(train_extras, "CHUNK", 16)
        yield


@dataclass(frozen=True)
class Trained:
    """What a whole training leaves: the folder, what the VAE's run printed, the states of the two diffusion runs."""

    folder: Path
    printed: str
    states: tuple[tuple[dict[str, Tensor], dict[str, float]], ...]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, _small_and_by_the_step: None) -> Trained:
    folder = tmp_path_factory.mktemp("state")
    words, printed, states = ["--state", str(folder), *BATCH], io.StringIO(), []
    with contextlib.redirect_stdout(printed):
        train_vae.main([*words, "--seconds", "12"])
    for _ in range(2):
        train_diffusion.main([*words, "--seconds", str(STEPS + 1), "--total-seconds", "16", "--passes", "1",
                              "--chunks", "1"])  # fmt: skip
        states.append(load_parts(folder, NAME))
    for what in train_extras.EXTRAS:
        train_extras.main([what, *words, "--seconds", str(STEPS + 1)])
    return Trained(folder, printed.getvalue(), tuple(states))


def test_the_vae_is_trained_and_normalised(trained: Trained) -> None:
    before, after = (float(x) for x in re.findall(r"PSNR ([\d.]+) dB", trained.printed))
    assert after == pytest.approx(before, abs=0.05)  # the norm moves the latents, not the pictures
    vae = Vae(tiny(1).vae)
    train_vae.load_vae(trained.folder, vae)
    with torch.no_grad():
        latents = vae.moments(torch.rand(2, 3, 64, 64))[0]
    assert latents.shape == (2, 4, 8, 8)


def test_the_diffusion_model_goes_on_where_it_stopped(trained: Trained) -> None:
    (first, facts), (second, later) = trained.states
    assert (facts["step"], later["step"]) == (STEPS, 2 * STEPS)
    assert facts["seconds"] < later["seconds"]
    assert first.keys() == second.keys()
    changed = [k for k in first if not torch.equal(first[k], second[k])]
    assert len(changed) > 0.9 * len(first)
    assert all(torch.isfinite(v.float()).all() for v in second.values())


@pytest.mark.parametrize("what", train_extras.EXTRAS)
def test_what_goes_with_it_is_trained(trained: Trained, what: str) -> None:
    base, _ = load_parts(trained.folder, NAME)
    tensors, facts = load_parts(trained.folder, what)
    assert facts["step"] == STEPS
    assert all(torch.isfinite(v.float()).all() for v in tensors.values())
    assert all(torch.equal(v, base[k]) for k, v in trained.states[1][0].items())  # the model stays as it was
    if what == "inversion":
        assert tensors["emb_params"].shape == (train_extras.VECTORS, tiny(1).text.width)
    if what == "style":
        assert [k for k, v in tensors.items() if not torch.equal(v, base[f"mean.unet.{k}"])]
    if what in ("lora", "control"):  # what starts at zero, so that nothing is changed at first
        starts = {"lora": r"\.lora_up\.weight$", "control": r"^zero_convs\.|^middle_block_out\."}[what]
        outlets = [v for k, v in tensors.items() if re.search(starts, k)]
        assert sum(bool(v.any()) for v in outlets) > 0.5 * len(outlets)


def test_pictures_come_of_it(trained: Trained) -> None:
    size = tiny(len(known()) + 1)
    vae = Vae(size.vae)
    train_vae.load_vae(trained.folder, vae)
    texts = held_out(2)[1]
    pictures = sample(load_model(trained.folder, size, torch.device("cpu")), vae, texts, size.side, steps=2)
    assert pictures.shape == (2, 3, 64, 64)
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1


def test_it_is_packed_into_files(trained: Trained, tmp_path: Path) -> None:
    pack.main(["--state", str(trained.folder), "--out", str(tmp_path)])
    files = {path.name: load_file(path) for path in tmp_path.iterdir()}
    assert files.keys() == {SHAPES, PASTEL, CONTOURS, OUTLINES, STARRY_NIGHT}
    shapes = files[SHAPES]
    table = load_parts(trained.folder, NAME)[0]["mean.text." + TOKEN_TABLE.removeprefix(PREFIXES["text"])]
    assert torch.equal(torch.cat([shapes["token_other"][None], shapes["token_rows"]]), table)
    assert tuple(shapes["token_ids"].tolist()) == known()
    model = Diffusion(tiny(len(known()) + 1))
    for part, module in (("unet", model.unet), ("text", model.text)):
        expected = {PREFIXES[part] + k for k in module.state_dict()} - {TOKEN_TABLE}
        assert {k for k in shapes if k.startswith(PREFIXES[part])} == expected
    assert files[PASTEL].keys() < shapes.keys()
    unet = {k.removeprefix(PREFIXES["unet"]): v for k, v in shapes.items() if k.startswith(PREFIXES["unet"])}
    assert not [k for k, v in files[CONTOURS].items() if k in unet and torch.equal(v, unet[k])]  # nothing twice


def _one_batch() -> Chunk:
    return make_chunk(np.random.default_rng(0), 16)


def test_steps_on_one_batch_bring_the_loss_down(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = Vae(tiny(1).vae)
    initialise(vae)
    save_parts(tmp_path, "vae-final", dict(vae.state_dict()))
    training = Training(arguments().parse_args(["--state", str(tmp_path), "--rate", "3e-3", *BATCH]))
    pool = training.pool()
    examples = pool.encode(_one_batch())
    objective = train_diffusion.Objective(training.device)
    losses = []
    for _ in range(40):
        torch.manual_seed(1)  # the same noise and timesteps each time, so that the losses compare
        loss, extra = training._losses(objective, examples)
        training.optimizer.zero_grad()
        (loss + extra).backward()  # type: ignore[no-untyped-call]
        training.optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_a_vae_learns_a_batch() -> None:
    torch.manual_seed(0)
    vae = Vae(tiny(1).vae)
    initialise(vae)
    pictures = train_vae.Pictures(torch.device("cpu"), 32).base(_one_batch().batch.part(0, 8))
    optimizer = torch.optim.Adam(vae.parameters(), 2e-3)
    losses = []
    for _ in range(25):
        loss = train_vae.loss_of(vae, pictures)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_normalised_latents_have_the_variance_that_the_sampler_expects() -> None:
    torch.manual_seed(0)
    vae = Vae(tiny(1).vae)
    initialise(vae)
    pictures = train_vae.Pictures(torch.device("cpu"), 64).base(_one_batch().batch)
    with torch.no_grad():
        before = vae.decode(vae.moments(pictures)[0])
        train_vae.normalise(vae, pictures)
        latents = vae.moments(pictures)[0] * 0.18215
        torch.testing.assert_close(vae.decode(latents / 0.18215), before, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
