"""Samplers with settings of their own: what each setting means, told from the sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from graphs.errors import RunError
from runtime.ops.noising import add_noise
from runtime.ops.schedule import make_noise, make_sigmas, sampler
from runtime.sampling.sampler import NO_NOISE, Prediction, SamplerDef
from runtime.sampling.samplers import SAMPLERS
from runtime.values import Latent
from tests.runtime.op_context import context
from tests.runtime.sampling_fixtures import SD15, gaussian, sd15

SIGMAS = sd15().sigmas[[-1, 800, 600, 400, 200, 50]]
START = torch.linspace(-30.0, 30.0, 64).reshape(1, 1, 8, 8)
WITH_NOISE = sorted(n for n, found in SAMPLERS.items() if "s_noise" in found.numbers and found.noise != NO_NOISE)


def sampled(chosen: SamplerDef, seed: int = 3, sigmas: Tensor = SIGMAS) -> tuple[Tensor, int]:
    """The sample, and how many times the model was asked."""
    generator = torch.Generator().manual_seed(seed)

    def noise(sigma: Tensor, after: Tensor) -> Tensor:
        return torch.randn(START.shape, generator=generator)

    running = chosen.start(START, sigmas, noise, sd15())
    asked = 0
    try:
        query = next(running)
        while True:
            asked += 1
            denoised = gaussian(*query)
            query = running.send(Prediction(denoised, denoised))
    except StopIteration as end:
        return end.value, asked


@pytest.mark.parametrize("name", WITH_NOISE)
def test_settings_at_their_defaults_change_nothing(name: str) -> None:
    defaults = {"eta": 1.0, "s_noise": 1.0}
    chosen = SAMPLERS[name]
    given = {k: v for k, v in defaults.items() if k in chosen.numbers}
    assert torch.equal(sampled(chosen)[0], sampled(chosen.with_numbers(given))[0])


@pytest.mark.parametrize("name", WITH_NOISE)
def test_no_noise_where_its_factor_is_zero(name: str) -> None:
    quiet = SAMPLERS[name].with_numbers({"s_noise": 0.0})
    assert torch.equal(sampled(quiet, seed=1)[0], sampled(quiet, seed=2)[0])
    loud = SAMPLERS[name].with_numbers({"s_noise": 1.5})
    assert not torch.equal(sampled(loud, seed=1)[0], sampled(loud, seed=2)[0])


@pytest.mark.parametrize("name", [n for n in WITH_NOISE if "eta" in SAMPLERS[n].numbers])
def test_eta_zero_follows_the_exact_flow(name: str) -> None:
    """The ODE of normal data has a closed solution; without noise every one of these is a solver of it."""
    steps = 400
    sigmas = torch.linspace(float(SIGMAS[0]), float(SIGMAS[-1]), steps)
    got, _ = sampled(SAMPLERS[name].with_numbers({"eta": 0.0}), sigmas=sigmas)
    spread = 2.0
    shrunk = ((spread**2 + sigmas[-1] ** 2) / (spread**2 + sigmas[0] ** 2)) ** 0.5
    torch.testing.assert_close(got, 0.7 + (START - 0.7) * shrunk, rtol=0.02, atol=0.05)


def test_an_expansion_of_one_term_forgets_the_past() -> None:
    one = SAMPLERS["er_sde"].with_numbers({"max_stage": 1, "s_noise": 0.0})
    two = SAMPLERS["er_sde"].with_numbers({"max_stage": 2, "s_noise": 0.0})
    three = SAMPLERS["er_sde"].with_numbers({"s_noise": 0.0})
    found = [sampled(chosen)[0] for chosen in (one, two, three)]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


def test_a_noise_scale_of_power_one_is_the_ode() -> None:
    sigmas = torch.linspace(float(SIGMAS[0]), float(SIGMAS[-1]), 300)
    got, _ = sampled(SAMPLERS["er_sde"].with_numbers({"power": 1.0}), sigmas=sigmas)
    shrunk = ((4 + sigmas[-1] ** 2) / (4 + sigmas[0] ** 2)) ** 0.5
    torch.testing.assert_close(got, 0.7 + (START - 0.7) * shrunk, rtol=0.01, atol=0.02)


@pytest.mark.parametrize("order", [1, 2, 4, 9])
def test_a_multistep_of_any_order_is_exact_for_data_that_is_a_point(order: int) -> None:
    sigmas = torch.linspace(10.0, 0.1, 12)
    running = SAMPLERS["lms"].with_numbers({"order": order}).start(START, sigmas, None, sd15())
    x, _ = next(running)
    try:
        while True:
            x, _ = running.send(Prediction(torch.full_like(x, 2.0)))
    except StopIteration as end:
        wanted = 2.0 + (START - 2.0) * (sigmas[-1] / sigmas[0])
        torch.testing.assert_close(end.value, wanted, rtol=1e-3, atol=1e-3)


def test_a_tighter_tolerance_asks_more_often() -> None:
    loose = sampled(SAMPLERS["dpm_adaptive"].with_numbers({"rtol": 0.5, "atol": 0.5}))[1]
    tight = sampled(SAMPLERS["dpm_adaptive"].with_numbers({"rtol": 0.001, "atol": 0.0001}))[1]
    assert tight > 2 * loose


@pytest.mark.parametrize("order", [2, 3])
def test_adaptive_steps_follow_the_exact_flow(order: int) -> None:
    got, _ = sampled(SAMPLERS["dpm_adaptive"].with_numbers({"order": order, "rtol": 0.001, "atol": 0.0001}))
    shrunk = ((4 + SIGMAS[-1] ** 2) / (4 + SIGMAS[0] ** 2)) ** 0.5
    torch.testing.assert_close(got, 0.7 + (START - 0.7) * shrunk, rtol=0.002, atol=0.002)


def test_adaptive_steps_draw_noise_only_where_eta_asks_for_it() -> None:
    assert SAMPLERS["dpm_adaptive"].with_numbers({"eta": 0.0}).noise == NO_NOISE
    noisy = SAMPLERS["dpm_adaptive"].with_numbers({"eta": 0.5})
    assert noisy.noise != NO_NOISE
    assert not torch.equal(sampled(noisy, seed=1)[0], sampled(noisy, seed=2)[0])


def test_a_middle_stage_at_the_start_is_refused() -> None:
    with pytest.raises(RunError, match="r above 0"):
        sampled(SAMPLERS["dpmpp_sde"].with_numbers({"r": 0.0}))


def test_a_setting_that_a_sampler_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no setting eta"):
        sampler(context(tmp_path), "euler", {"eta": 0.5})


def test_noise_of_as_much_as_the_schedule_takes_away(tmp_path: Path) -> None:
    here = replace(context(tmp_path), model=SD15)
    latent = Latent(torch.full((1, 4, 8, 8), 2.0))
    noise, sigmas = make_noise(here, latent, 5), make_sigmas(here, 4, "normal", 1.0, "euler")
    scale = SD15["latent"]["scale"]
    amounts = ((sigmas, float(sigmas[0])), (sigmas[1:3], float(sigmas[1] - sigmas[2])), (sigmas[:1], 14.6146))
    for levels, amount in amounts:
        noisy = add_noise(here, latent, noise, levels).samples
        torch.testing.assert_close(noisy, 2.0 + noise.samples * amount / scale, rtol=1e-4, atol=1e-4)
    assert add_noise(here, latent, noise, torch.empty(0)) is latent
