"""The loop that drives samplers: what it asks, what observers see."""

from __future__ import annotations

import pytest
import torch

from runtime.context import Interrupted
from runtime.sampling.driver import Evaluated, Steps
from runtime.sampling.noise import independent_noise
from runtime.sampling.sampler import Prediction, Sampler
from runtime.sampling.samplers import SAMPLERS
from runtime.sampling.sigmas import schedule
from tests.runtime.sampling_fixtures import driven, gaussian, sd15


def start(name: str, scheduler: str, steps: int, seed: int) -> Sampler:
    sigmas = schedule(sd15(), scheduler, steps)
    x = sigmas[0] * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    return SAMPLERS[name].start(x, sigmas, independent_noise(x, seed), sd15())


def test_a_sampler_without_steps_returns_what_it_got() -> None:
    x = torch.ones(1, 4, 8, 8)
    running = SAMPLERS["euler"].start(x, torch.tensor([3.0]), None, sd15())
    assert driven(running, lambda x, s: Prediction(gaussian(x, s))) is x


def test_an_interrupt_between_steps_ends_the_sampler() -> None:
    sampler = start("euler", "normal", 5, 1)
    seen = []

    def observe(evaluated: Evaluated) -> None:
        seen.append(evaluated)
        if len(seen) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        driven(sampler, lambda x, s: Prediction(gaussian(x, s)), schedule(sd15(), "normal", 5), observe)
    with pytest.raises(StopIteration):
        next(sampler)


def test_observers_see_query_and_prediction() -> None:
    seen: list[Evaluated] = []
    sigmas = schedule(sd15(), "normal", 3)
    driven(start("euler", "normal", 3, 1), lambda x, s: Prediction(gaussian(x, s)), sigmas, seen.append)
    assert [float(e.sigma) for e in seen] == sigmas[:-1].tolist()
    assert [(e.done, e.total) for e in seen] == [(1, 3), (2, 3), (3, 3)]
    for evaluated in seen:
        assert torch.equal(evaluated.prediction.denoised, gaussian(evaluated.x, evaluated.sigma))


@pytest.mark.parametrize("name", ["euler", "heun", "dpm_2", "dpmpp_2s_ancestral", "uni_pc", "dpm_fast"])
def test_progress_counts_steps_not_evaluations(name: str) -> None:
    sigmas = schedule(sd15(), "normal", 6)
    seen: list[Evaluated] = []
    driven(start(name, "normal", 6, 1), lambda x, s: Prediction(gaussian(x, s)), sigmas, seen.append)
    done = [e.done for e in seen]
    assert {e.total for e in seen} == {6}
    assert done == sorted(done)
    assert done[0] == 1
    assert done[-1] == (6 if name != "dpm_fast" else 5)  # dpm_fast ends before the last sigma


def test_progress_counts_a_rising_schedule_too() -> None:
    steps = Steps(torch.tensor([0.5, 1.0, 5.0]))
    assert [steps.after(sigma) for sigma in (0.5, 1.0)] == [1, 2]
