"""Samplers on the path of flow models, x = (1 - sigma) x0 + sigma noise: data of a known distribution come out with it.

Where the data are normal with deviation `spread`, the best prediction of x0 is known, so that an exact sampler turns
noise into data of that deviation; one that adds noise for another path makes more or less of it.
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
from tests.runtime.sampling_fixtures import driven

SPREAD, STEPS = 0.5, 60
# lcm jumps to the prediction, whose deviation is smaller: it needs a model that was trained for it.
ON_THE_PATH = [name for name, definition in SAMPLERS.items() if definition.takes_path and name != "lcm"]
WITHOUT_NOISE = ("euler", "heun", "dpm_2", "dpmpp_2m", "res_multistep", "lms", "ipndm", "deis", "gradient_estimation")


def flow() -> ModelSampling:
    schedule = {"kind": "flow", "shift": 1.0, "multiplier": 1.0, "timesteps": 1000}
    return model_sampling({"prediction": "flow", "schedule": schedule})


def best(x: Tensor, sigma: Tensor) -> Tensor:
    left = 1.0 - sigma
    return left * SPREAD**2 * x / (left**2 * SPREAD**2 + sigma**2)


def sampled(name: str) -> Tensor:
    model, definition = flow(), SAMPLERS[name]
    sigmas = torch.linspace(1.0, 0.0, STEPS + 1)
    x = torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(1))
    noise = brownian_noise(x, sigmas, 2) if definition.noise == BROWNIAN else independent_noise(x, 2)
    return driven(definition.start(x, sigmas, noise, model), lambda x, s: Prediction(best(x, s)))


@pytest.mark.parametrize("name", [*ON_THE_PATH, *WITHOUT_NOISE])
def test_data_come_out_with_their_own_deviation(name: str) -> None:
    assert float(sampled(name).std()) == pytest.approx(SPREAD, rel=0.06)


def test_samplers_that_take_the_path_are_those_that_add_noise() -> None:
    assert len(ON_THE_PATH) == 14
    assert all(SAMPLERS[name].noise != NO_NOISE for name in ON_THE_PATH)


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
