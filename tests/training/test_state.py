"""Training state survives a save and a load, in files of a bounded size; the layout questions have right answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training import state
from training.layout import LayoutReader, answers
from training.palette import NAMES
from training.render import encode
from training.scenes import SHAPES, Scene, Thing
from training.state import Mean, has_parts, load_parts, pack_state, save_parts, unpack_state


def test_parts_come_back_equal_and_none_is_larger_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "PART_BYTES", 40_000)
    torch.manual_seed(0)
    tensors = {f"t{i}": torch.randn(50, 100) for i in range(7)} | {"half": torch.randn(3, 3).half()}
    save_parts(tmp_path, "model", tensors, {"step": 12, "seconds": 3.5})
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    assert all(file.stat().st_size < 40_000 + 2_000 for file in files)  # and a header
    loaded, facts = load_parts(tmp_path, "model")
    assert facts == {"step": 12, "seconds": 3.5}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[k], v) and loaded[k].dtype == v.dtype for k, v in tensors.items())


def test_a_shorter_state_leaves_no_old_part_and_touches_no_other_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "PART_BYTES", 400)
    save_parts(tmp_path, "other", {"a": torch.ones(2)})
    save_parts(tmp_path, "model", {str(i): torch.ones(90) for i in range(3)})
    save_parts(tmp_path, "model", {"0": torch.zeros(4)})
    assert sorted(f.name for f in tmp_path.iterdir()) == ["model-00.safetensors", "other-00.safetensors"]
    assert load_parts(tmp_path, "model")[0].keys() == {"0"}


def test_no_state_is_said_to_be_missing(tmp_path: Path) -> None:
    assert not has_parts(tmp_path, "model")
    with pytest.raises(FileNotFoundError, match="no training state called model"):
        load_parts(tmp_path, "model")


def _trained() -> tuple[dict[str, torch.Tensor], Mean, torch.optim.AdamW]:
    torch.manual_seed(1)
    parameters: dict[str, torch.Tensor] = {"w": torch.nn.Parameter(torch.randn(4, 4))}
    optimizer = torch.optim.AdamW(parameters.values(), 0.1)
    mean = Mean(parameters, 0.9)
    for step in range(5):
        optimizer.zero_grad()
        parameters["w"].square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        mean.update(parameters, step)
    return parameters, mean, optimizer


def test_weights_their_mean_and_the_second_moment_go_on() -> None:
    parameters, mean, optimizer = _trained()
    packed = pack_state(parameters, mean, optimizer)
    fresh: dict[str, torch.Tensor] = {"w": torch.nn.Parameter(torch.zeros(4, 4))}
    other, fresh_mean = torch.optim.AdamW(fresh.values(), 0.1), Mean(fresh, 0.9)
    unpack_state(packed, fresh, fresh_mean, other, 5)
    torch.testing.assert_close(fresh["w"], parameters["w"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(fresh_mean.values["w"], mean.values["w"], rtol=1e-3, atol=1e-3)
    second = optimizer.state[parameters["w"]]["exp_avg_sq"]
    torch.testing.assert_close(other.state[fresh["w"]]["exp_avg_sq"], second, rtol=2e-2, atol=1e-4)
    assert float(other.state[fresh["w"]]["step"]) == 5


def test_the_mean_forgets_the_start_and_follows() -> None:
    value = {"w": torch.zeros(1)}
    mean = Mean(value, 0.9)
    value["w"] += 1
    for step in range(100):
        mean.update(value, step)
    assert float(mean.values["w"]) == pytest.approx(1, abs=1e-3)


# --- the layout questions

THINGS = (
    Thing("circle", "red", x=40, y=128), Thing("star", "blue", x=220, y=30), Thing("heart", "pink", x=128, y=230),
)  # fmt: skip


def kind(thing: Thing) -> int:
    return NAMES.index(thing.colour) * len(SHAPES) + SHAPES.index(thing.shape)


def test_answers_say_what_stands_in_each_cell_and_at_each_end() -> None:
    things = torch.from_numpy(encode([Scene("list", THINGS, "white", counts=(1, 1, 1))]).things)
    (found,) = answers(things).tolist()
    nothing = len(NAMES) * len(SHAPES)
    red, blue, pink = (kind(t) for t in THINGS)
    assert found[:9] == [nothing, nothing, blue, red, nothing, nothing, nothing, pink, nothing]
    assert found[9:] == [red, blue, blue, pink]  # leftmost, rightmost, topmost, bottommost


def test_the_reader_learns_to_answer() -> None:
    torch.manual_seed(2)
    rng = np.random.default_rng(2)
    scenes = [
        Scene("one", (Thing(str(rng.choice(SHAPES)), "red", x=float(rng.choice((40, 128, 210))), y=128),), "white")
        for _ in range(24)
    ]
    things = torch.from_numpy(encode(scenes).things)
    hidden = torch.randn(24, 7, 32)
    reader = LayoutReader(32)
    optimizer = torch.optim.Adam(reader.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = reader.loss(hidden, things)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    assert reader(hidden).shape == (24, 13, len(NAMES) * len(SHAPES) + 1)
