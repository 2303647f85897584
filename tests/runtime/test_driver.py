"""The loop that drives samplers, alone and together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from runtime.context import Interrupted
from runtime.sampling.driver import Run, StepProgress, drive, drive_together
from runtime.sampling.noise import independent_noise
from runtime.sampling.sampler import Prediction, Query, Sampler
from runtime.sampling.samplers import SAMPLERS
from runtime.sampling.sigmas import schedule
from tests.runtime.sampling_fixtures import gaussian, sd15


def start(name: str, scheduler: str, steps: int, seed: int) -> Sampler:
    sigmas = schedule(sd15(), scheduler, steps)
    x = sigmas[0] * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    return SAMPLERS[name].start(x, sigmas, independent_noise(x, seed), sd15())


REQUESTS = (("euler", "normal", 6, 1), ("dpm_2_ancestral", "karras", 3, 2), ("heun", "simple", 1, 3))


def test_samplers_driven_together_give_what_they_give_alone() -> None:
    alone = [drive(start(*request), lambda x, s: Prediction(gaussian(x, s))) for request in REQUESTS]
    sizes = []

    def denoise(queries: Sequence[tuple[int, Query]]) -> list[Prediction]:
        sizes.append(len(queries))
        x = torch.cat([query[0] for _, query in queries])
        sigma = torch.stack([query[1] for _, query in queries]).reshape(-1, 1, 1, 1)
        return [Prediction(part) for part in torch.split(gaussian(x, sigma), 1)]

    together = drive_together([start(*request) for request in REQUESTS], denoise)
    assert sizes[0] == 3, "the first round evaluates all three in one call"
    assert sizes[-1] == 1, "the longest one ends alone"
    for left, right in zip(alone, together, strict=True):
        assert torch.equal(left, right)


def test_a_sampler_without_steps_returns_what_it_got() -> None:
    x = torch.ones(1, 4, 8, 8)
    run = Run(SAMPLERS["euler"].start(x, torch.tensor([3.0]), None, sd15()))
    assert run.query is None
    assert run.result is x


def test_an_interrupt_between_steps_ends_the_sampler() -> None:
    sampler = start("euler", "normal", 5, 1)
    seen = []

    def observe(query: Query) -> None:
        seen.append(query)
        if len(seen) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        drive(sampler, lambda x, s: Prediction(gaussian(x, s)), observe)
    with pytest.raises(StopIteration):
        next(sampler)


@pytest.mark.parametrize("name", ["euler", "heun", "dpm_2", "dpmpp_2s_ancestral", "uni_pc", "dpm_fast"])
def test_progress_counts_steps_not_evaluations(name: str) -> None:
    sigmas = schedule(sd15(), "normal", 6)
    reports: list[tuple[int, int]] = []
    progress = StepProgress(sigmas, lambda done, total: reports.append((done, total)))
    drive(start(name, "normal", 6, 1), lambda x, s: Prediction(gaussian(x, s)), progress)
    done = [d for d, _ in reports]
    assert {total for _, total in reports} == {6}
    assert done == sorted(done)
    assert done[0] == 1
    assert done[-1] == (6 if name != "dpm_fast" else 5)  # dpm_fast ends before the last sigma


def test_progress_counts_a_rising_schedule_too() -> None:
    reports: list[int] = []
    progress = StepProgress(torch.tensor([0.1, 1.0, 5.0]), lambda done, total: reports.append(done))
    for sigma in (0.1, 1.0):
        progress((torch.zeros(1), torch.tensor(sigma)))
    assert reports == [1, 2]
