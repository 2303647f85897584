"""Samplers on the path of flow models, x = (1 - sigma) x0 + sigma noise: data of a known distribution come out with it.

Where the data are normal, the best prediction of x0 is known, and with it the flow and the distribution of the state at
every noise level. A sampler that adds noise for another path misses them.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from runtime.sampling.brownian import brownian_noise
from runtime.sampling.model_sampling import ModelSampling
from runtime.sampling.noise import independent_noise
from runtime.sampling.paths import model_sampling
from runtime.sampling.sampler import BROWNIAN, NO_NOISE, Prediction
from runtime.sampling.samplers import SAMPLERS
from runtime.sampling.sigmas import schedule
from tests.runtime.sampling_fixtures import driven

MEAN, SPREAD, STEPS = 0.3, 0.5, 60
# lcm jumps to the prediction, whose deviation is smaller: it needs a model that was trained for it.
# The second stage of dpmpp_2s_ancestral_cfg_pp is not consistent, whatever the path (see its docstring).
STOCHASTIC = [
    name
    for name, definition in SAMPLERS.items()
    if definition.noise != NO_NOISE and name not in ("lcm", "dpmpp_2s_ancestral_cfg_pp")
]
# without noise: the largest error after 240 steps, in states of deviation 1 and 0.5
EXACT = {
    "euler": 0.02, "ddim": 0.02, "heun": 0.001, "heunpp2": 0.015, "dpm_2": 0.0005, "lms": 0.0001, "dpm_fast": 0.0001,
    "dpm_adaptive": 0.002, "dpmpp_2m": 0.003, "ipndm": 0.001, "ipndm_v": 0.02, "deis": 0.001, "res_multistep": 0.003,
    "gradient_estimation": 0.02, "uni_pc": 0.003, "uni_pc_bh2": 0.003, "euler_cfg_pp": 0.02, "dpmpp_2m_cfg_pp": 0.003,
    "exp_heun_2_x0": 0.003, "res_multistep_cfg_pp": 0.003, "gradient_estimation_cfg_pp": 0.02,
}  # fmt: skip


def flow(shift: float = 1.0) -> ModelSampling:
    facts = {"kind": "flow", "shift": shift, "multiplier": 1.0, "timesteps": 1000}
    return model_sampling({"prediction": "flow", "schedule": facts})


def best(x: Tensor, sigma: Tensor) -> Tensor:
    left = 1.0 - sigma
    return MEAN + left * SPREAD**2 * (x - left * MEAN) / (left**2 * SPREAD**2 + sigma**2)


def sampled(name: str, x: Tensor, model: ModelSampling, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """What comes out, and the schedule."""
    definition, sigmas = SAMPLERS[name], schedule(model, "simple", steps)
    noise = brownian_noise(x, sigmas, 2) if definition.noise == BROWNIAN else independent_noise(x, 2)
    result = driven(definition.start(x, sigmas, noise, model), lambda x, s: Prediction(best(x, s), best(x, s)))
    return result, sigmas


def on_the_flow(x: Tensor, end: Tensor) -> Tensor:
    """The solution at `end` of the flow that begins with x at sigma 1: the standardised state does not change."""
    return (1 - end) * MEAN + x * ((1 - end) ** 2 * SPREAD**2 + end**2) ** 0.5


def test_every_sampler_is_looked_at() -> None:
    assert {*STOCHASTIC, *EXACT, "lcm", "dpmpp_2s_ancestral_cfg_pp"} == set(SAMPLERS)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_samplers_without_noise_follow_the_flow(name: str, shift: float) -> None:
    x = torch.linspace(-3, 3, 64).reshape(1, 4, 4, 4)
    result, sigmas = sampled(name, x, flow(shift), 240)
    end = sigmas[-2] if name in ("dpm_fast", "dpm_adaptive") else sigmas[-1]  # these stop at the last positive sigma
    assert float((result - on_the_flow(x, end)).abs().max()) < EXACT[name]


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize(("shift", "steps"), [(1.0, STEPS), (3.0, 240)])
def test_data_come_out_with_their_own_mean_and_deviation(name: str, shift: float, steps: int) -> None:
    x = torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(1))
    result, _ = sampled(name, x, flow(shift), steps)
    assert float(result.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(result.std()) == pytest.approx(SPREAD, rel=0.06)


@pytest.mark.parametrize("name", [name for name in STOCHASTIC if not name.endswith("_gpu")])
def test_noise_is_fresh_and_half_of_the_way_has_the_right_deviation(name: str) -> None:
    """The state on the way is that of the path, not only the data at its end."""
    model, seen = flow(), []
    definition, sigmas = SAMPLERS[name], torch.linspace(1.0, 0.0, STEPS + 1)
    x = torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(1))
    noise = brownian_noise(x, sigmas, 2) if definition.noise == BROWNIAN else independent_noise(x, 2)

    def predict(x: Tensor, sigma: Tensor) -> Prediction:
        seen.append((sigma, float(x.std())))
        return Prediction(best(x, sigma), best(x, sigma))

    driven(definition.start(x, sigmas, noise, model), predict)
    for sigma, deviation in seen:
        if 0.2 < sigma < 0.8:
            expected = float(((1 - sigma) ** 2 * SPREAD**2 + sigma**2) ** 0.5)
            assert deviation == pytest.approx(expected, rel=0.06), float(sigma)


def test_guidance_plus_plus_puts_back_the_unconditional_noise() -> None:
    """On x = (1 - sigma) x0 + sigma noise the noise of a prediction u is (x - (1 - sigma) u) / sigma."""
    x = torch.full((1, 4, 8, 8), 2.0)
    running = SAMPLERS["euler_cfg_pp"].start(x, torch.tensor([0.8, 0.5, 0.0]), None, flow())
    next(running)
    asked, sigma = running.send(Prediction(torch.full_like(x, 1.0), torch.full_like(x, -1.0)))
    noise = (2.0 - 0.2 * -1.0) / 0.8
    assert float(sigma) == 0.5
    torch.testing.assert_close(asked, torch.full_like(x, 0.5 * 1.0 + 0.5 * noise))


def test_a_consistency_step_noises_its_prediction_to_the_next_level_of_the_path() -> None:
    x, noise = torch.full((1, 4, 8, 8), 3.0), torch.full((1, 4, 8, 8), 5.0)
    running = SAMPLERS["lcm"].start(x, torch.tensor([0.8, 0.25, 0.0]), lambda a, b: noise, flow())
    next(running)
    asked, sigma = running.send(Prediction(torch.full_like(x, 2.0)))
    assert float(sigma) == 0.25
    torch.testing.assert_close(asked, torch.full_like(x, 0.75 * 2.0 + 0.25 * 5.0))


def test_eta_0_adds_no_noise() -> None:
    definition, sigmas = SAMPLERS["euler_ancestral"].with_numbers({"eta": 0.0}), torch.linspace(1.0, 0.0, 9)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    quiet = driven(definition.start(x, sigmas, independent_noise(x, 2), flow()), lambda x, s: Prediction(best(x, s)))
    plain = driven(SAMPLERS["euler"].start(x, sigmas, None, flow()), lambda x, s: Prediction(best(x, s)))
    torch.testing.assert_close(quiet, plain)
