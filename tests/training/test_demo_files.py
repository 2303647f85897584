"""The files that ship, and the ordinary model files that `install` makes of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from comfyc import demo_model
from comfyc.demo_model import CONTOURS, FILES, OUTLINES, PASTEL, SHAPES, STARRY_NIGHT, TOKEN_TABLE, WEIGHTS, install
from graphs.errors import StoreError
from training import pack, unpack
from training.model import PREFIXES, Diffusion, Vae, shipped
from training.pack import packed
from training.tokens import VOCABULARY, known


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("models"))


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_install_writes_each_file_and_nothing_else(models: Path) -> None:
    assert snapshot(models).keys() == {*FILES, "demo-model.txt"}


def test_a_second_install_writes_nothing(models: Path) -> None:
    before = snapshot(models)
    assert install(models) == models
    assert snapshot(models) == before


@pytest.mark.parametrize("place", FILES)
def test_a_missing_file_comes_back_as_it_was(models: Path, place: str) -> None:
    data = (models / place).read_bytes()
    (models / place).unlink()
    install(models)
    assert (models / place).read_bytes() == data


def test_other_weights_are_installed_over_the_old_ones(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_model, "_fingerprint", lambda: "of other weights")
    before = snapshot(models)
    install(models)
    assert all(snapshot(models)[place] != before[place] for place in FILES)


@pytest.fixture
def failing_third_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """os.replace fails for the third file, after its bytes were written."""
    calls, real = [], os.replace

    def replace(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.usefixtures("failing_third_write")
def test_a_failed_write_leaves_whole_files_alone_and_is_made_good(tmp_path: Path, models: Path) -> None:
    with pytest.raises(StoreError, match="No space left on device") as caught:
        install(tmp_path)
    assert "COMFYC_CACHE" in str(caught.value.hint)
    written = snapshot(tmp_path)
    assert written.keys() == set(list(FILES)[:2])  # no part of a file, no stamp
    for place in written:
        assert (tmp_path / place).read_bytes() == (models / place).read_bytes()
    install(tmp_path)
    assert snapshot(tmp_path).keys() == {*FILES, "demo-model.txt"}


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    """A file where the folder should be: it stops even those who may write everywhere."""
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(StoreError, match="the demo model cannot be written") as caught:
        install(tmp_path / "cache")
    assert str(tmp_path / "cache") in str(caught.value)


# --- what is in them


def parts_of(checkpoint: Path) -> dict[str, dict[str, torch.Tensor]]:
    tensors = load_file(checkpoint)
    return {
        part: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        for part, prefix in PREFIXES.items()
    }


@pytest.mark.parametrize("name", [SHAPES, PASTEL])
def test_the_checkpoints_fit_the_networks_that_are_trained(models: Path, name: str) -> None:
    size = shipped(VOCABULARY)
    parts = parts_of(models / "checkpoints" / name)
    with torch.device("meta"):
        model, vae = Diffusion(size), Vae(size.vae)
    for part, module in (("unet", model.unet), ("text", model.text), ("vae", vae)):
        expected = {k: tuple(v.shape) for k, v in module.state_dict().items()}
        assert {k: tuple(v.shape) for k, v in parts[part].items()} == expected


def test_pastel_shares_text_encoder_and_vae_and_differs_in_the_unet(models: Path) -> None:
    shapes, pastel = (parts_of(models / "checkpoints" / name) for name in (SHAPES, PASTEL))
    for part in ("vae", "text"):
        assert all(torch.equal(shapes[part][k], v) for k, v in pastel[part].items())
    changed = [k for k, v in pastel["unet"].items() if not torch.equal(v, shapes["unet"][k])]
    assert 0 < len(changed) < len(pastel["unet"])
    assert {PREFIXES["unet"] + k for k in changed} <= load_file(WEIGHTS / PASTEL).keys()


def test_the_control_net_holds_the_unets_encoder_where_it_was_not_trained(models: Path) -> None:
    control = {k.removeprefix("control_model."): v for k, v in load_file(models / "controlnet" / CONTOURS).items()}
    unet = parts_of(models / "checkpoints" / SHAPES)["unet"]
    own = load_file(WEIGHTS / CONTOURS)
    assert all(torch.equal(control[k], own[k] if k in own else unet[k]) for k in control)
    assert own.keys() < control.keys()


def test_packing_the_expanded_checkpoint_gives_the_shipped_file_again(models: Path) -> None:
    """install and training.pack are each other's inverse: the short token table, its ids and every other tensor."""
    whole = load_file(models / "checkpoints" / SHAPES)
    table = whole[TOKEN_TABLE]
    assert len(table) == VOCABULARY
    ids = torch.tensor(known())
    others = torch.ones(VOCABULARY, dtype=torch.bool).index_fill_(0, ids, False)
    assert torch.equal(table[others], table[others][:1].expand(int(others.sum()), -1))
    short = torch.cat([table[others][:1], table[ids]])  # as training keeps it: row 0 for all others
    again, kept = packed(whole | {TOKEN_TABLE: short}), load_file(WEIGHTS / SHAPES)
    assert again.keys() == kept.keys()
    assert all(torch.equal(again[k], v) and again[k].dtype == v.dtype for k, v in kept.items())


def test_every_file_names_its_licence(models: Path) -> None:
    for path in [*WEIGHTS.glob("*.safetensors"), *(models / place for place in FILES)]:
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == {"licence": "Apache-2.0"}, path.name


def test_the_weights_stay_small_enough_to_ship() -> None:
    sizes = {path.name: path.stat().st_size for path in WEIGHTS.iterdir()}
    assert sizes.keys() == {SHAPES, PASTEL, CONTOURS, OUTLINES, STARRY_NIGHT}
    assert sum(sizes.values()) < 25_000_000


def test_unpacking_and_packing_again_gives_the_files_that_ship(tmp_path: Path) -> None:
    """So training can go on from the repository alone."""
    unpack.main(["--state", str(tmp_path / "state")])
    pack.main(["--state", str(tmp_path / "state"), "--out", str(tmp_path / "out")])
    for path in WEIGHTS.glob("*.safetensors"):
        before, after = load_file(path), load_file(tmp_path / "out" / path.name)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before), path.name


def test_the_model_card_has_the_recorded_scores() -> None:
    """The card's table is written by hand; the figures are not."""
    repository = Path(__file__).parents[2]
    recorded = json.loads((repository / "benchmarks" / "results" / "demo_model.json").read_text("utf-8"))
    card = (repository / "comfyc" / "demo_model" / "MODEL_CARD.md").read_text("utf-8")
    assert f"({recorded['relations_asked']} captions)" in card
    for name, percent in recorded["percent"].items():
        assert f"| {percent} % |" in card, name
