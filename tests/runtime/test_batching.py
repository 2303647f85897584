"""Who answers the calls of runs: one alone, several together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from graphs.program import Step
from runtime.artifacts import StoreArtifacts
from runtime.context import OpContext
from runtime.engines import Engines
from runtime.ops.sample import sample
from runtime.ops.schedule import make_noise, make_sigmas, sampler
from runtime.sampling.batching import Call, Calls, alone, drive_together
from runtime.session import RunResult, Session
from runtime.store import Store
from runtime.values import Latent
from tests.runtime.fake_backend import FakeBackend, write_plan
from tests.runtime.sampling_fixtures import FakeModule, cfg_guider, context, text_eps, texts

POSITIVE, NEGATIVE = torch.full((1, 77, 8), 0.4), torch.full((1, 77, 8), -0.2)


def request(
    here: OpContext, name: str, steps: int, seed: int, size: tuple[int, int] = (8, 8), cfg: float = 7.0
) -> Calls[Latent]:
    latent = Latent(torch.zeros(1, 4, *size))
    positive, negative = texts(here, POSITIVE * seed, NEGATIVE)
    guider = cfg_guider(here, positive, negative, cfg)
    sigmas, noise = make_sigmas(here, steps, "normal", 1.0, name), make_noise(here, latent, seed)
    return (yield from sample(here, latent, noise, sigmas, sampler(here, name), guider))[0]


REQUESTS = (("euler", 6, 1), ("dpm_2_ancestral", 3, 2), ("heun", 1, 3), ("dpmpp_2m_sde", 4, 4))


def test_runs_together_give_what_they_give_alone() -> None:
    unet = FakeModule(text_eps)
    here = context({"denoiser": unet})
    single = [alone(request(here, *r)) for r in REQUESTS]
    unet.calls.clear()
    together = drive_together([request(here, *r) for r in REQUESTS])
    assert unet.calls[0]["x"][0] == 8, "the first round evaluates all four, both sides, in one call"
    assert unet.calls[-1]["x"][0] == 2, "the longest one ends alone"
    for left, right in zip(single, together, strict=True):
        assert (left.samples - right.samples).abs().max() <= 1e-5 * left.samples.std()


def test_only_calls_of_one_engine_and_one_size_are_joined() -> None:
    unet, other = FakeModule(text_eps), FakeModule(text_eps)
    here, there = context({"denoiser": unet}), context({"denoiser": other})
    runs = [request(here, "euler", 2, 1), request(here, "euler", 2, 2, (8, 16)), request(there, "euler", 2, 3),
            request(here, "euler", 2, 4, cfg=1.0)]  # fmt: skip
    drive_together(runs)
    assert sorted(call["x"] for call in unet.calls) == [(2, 4, 8, 16)] * 2 + [(3, 4, 8, 8)] * 2
    assert [call["x"] for call in other.calls] == [(2, 4, 8, 8)] * 2


def test_an_engine_takes_no_more_rows_than_it_is_said_to() -> None:
    unet = FakeModule(text_eps)
    here = context({"denoiser": unet})
    drive_together([request(here, "euler", 1, seed) for seed in range(1, 6)], most_rows=4)
    assert [call["x"][0] for call in unet.calls] == [4, 4, 2]


def test_an_engine_that_fails_fails_inside_the_run() -> None:
    def fail(inputs: Mapping[str, Tensor]) -> Tensor:
        raise MemoryError("no room")

    seen: list[str] = []

    def run(drive: Callable[[Calls[None]], object]) -> None:
        def one() -> Calls[None]:
            try:
                yield Call(FakeModule(fail), {"x": torch.zeros(1, 1)})
            except MemoryError as error:
                seen.append(str(error))
                raise

        with pytest.raises(MemoryError):
            drive(one())

    run(alone)
    run(lambda one: drive_together([one]))
    assert seen == ["no room"] * 2


def test_one_that_fails_ends_the_others() -> None:
    closed: list[bool] = []

    def patient() -> Calls[None]:
        try:
            while True:
                yield Call(FakeModule(text_eps_of_x), {"x": torch.zeros(1, 1)})
        finally:
            closed.append(True)

    def hasty() -> Calls[None]:
        yield Call(FakeModule(text_eps_of_x), {"x": torch.zeros(1, 1)})
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        drive_together([patient(), hasty()])
    assert closed == [True]


def text_eps_of_x(inputs: Mapping[str, Tensor]) -> Tensor:
    return inputs["x"]


# --- two sessions


@pytest.fixture
def sessions(tmp_path: Path) -> list[Session]:
    store, fake = Store(tmp_path / "store"), FakeBackend()
    write_plan(tmp_path / "plan", store)
    return [
        Session.open(tmp_path / "plan", store=store, backend=lambda name: {"fake": fake}[name]) for _ in range(2)
    ]


def picture(result: RunResult) -> Tensor:
    with Image.open(result.files[0].path) as image:
        return torch.from_numpy(np.array(image, dtype=np.int16))


def test_two_sessions_together_give_what_they_give_alone(sessions: list[Session], tmp_path: Path) -> None:
    settings = ({"3.seed": 1, "3.steps": 4}, {"3.seed": 2, "3.cfg": 3.0})

    def start(n: int, folder: str) -> Calls[RunResult]:
        return sessions[n].start(settings[n], input_dir=tmp_path, output_dir=tmp_path / folder, temp_dir=tmp_path)

    single = [picture(alone(start(n, f"alone{n}"))) for n in range(2)]
    together = [picture(result) for result in drive_together([start(n, f"together{n}") for n in range(2)])]
    assert not torch.equal(single[0], single[1])
    for left, right in zip(single, together, strict=True):
        assert (left - right).abs().max() <= 1


def within(seconds: float, *works: Callable[[], list[RunResult]]) -> list[RunResult]:
    """What the works give, each in a thread of its own; fails where they take longer, waiting for each other."""
    found: list[list[RunResult]] = []
    threads = [threading.Thread(target=lambda w=work: found.append(w()), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert len(found) == len(works), "the runs wait for each other"
    return [result for results in found for result in results]


@pytest.mark.parametrize("reentrant", [True, False])
def test_two_runs_of_one_session_are_driven_together(
    reentrant: bool, sessions: list[Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBackend, "reentrant", reentrant)

    def start(seed: int) -> Calls[RunResult]:
        return sessions[0].start({"3.seed": seed}, input_dir=tmp_path, output_dir=tmp_path / "o", temp_dir=tmp_path)

    single = [picture(alone(start(seed))) for seed in (1, 2)]
    together = within(30, lambda: drive_together([start(1), start(2)]))
    for left, right in zip(single, together, strict=True):
        assert (left - picture(right)).abs().max() <= 1


@pytest.mark.parametrize("reentrant", [True, False])
def test_two_threads_that_take_two_sessions_the_other_way_round_do_not_lock_each_other(
    reentrant: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBackend, "reentrant", reentrant)
    store, fake = Store(tmp_path / "store"), FakeBackend()
    write_plan(tmp_path / "plan", store)
    engines = Engines(StoreArtifacts(store), lambda name: fake)
    both = [Session.open(tmp_path / "plan", engines=engines) for _ in range(2)]
    meet = threading.Barrier(2)

    def pause(step: Step) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            meet.wait(1)  # both are in their first run, unless one waits for the other's end

    def drive(order: list[Session]) -> list[RunResult]:
        folders: dict[str, Any] = {"input_dir": tmp_path, "output_dir": tmp_path / "o", "temp_dir": tmp_path}
        return drive_together([session.start(**folders, on_step=pause) for session in order])

    results = within(30, lambda: drive(both), lambda: drive(both[::-1]))
    assert len(results) == 4
    assert len({tuple(picture(result).flatten().tolist()) for result in results}) == 1


def test_observers_see_what_is_predicted_on_the_way(sessions: list[Session], tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []
    sessions[0].run(
        {"3.steps": 3}, input_dir=tmp_path, output_dir=tmp_path, temp_dir=tmp_path,
        observe=lambda e: seen.append((e.done, float(e.prediction.denoised.std()))),
    )  # fmt: skip
    assert [done for done, _ in seen] == [1, 2, 3]
    assert all(deviation > 0 for _, deviation in seen)


def test_attrs_of_a_request_stay_its_own() -> None:
    """A joint and a separate run share calls only where their rows go together."""
    unet = FakeModule(text_eps)
    here = context({"denoiser": unet})
    apart = replace(here, attrs={**here.attrs, "guidance": "separate"})
    drive_together([request(here, "euler", 1, 1), request(apart, "euler", 1, 1)])
    assert [call["x"][0] for call in unet.calls] == [3, 1]
