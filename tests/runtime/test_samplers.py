"""Every sampler against data whose ODE and SDE have known solutions: normal data, exact denoiser."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from graphs.errors import RunError
from graphs.nodes import NODES
from runtime.sampling.brownian import brownian_noise
from runtime.sampling.noise import StepNoise, independent_noise
from runtime.sampling.sampler import BROWNIAN, NO_NOISE, Prediction, ancestral_step
from runtime.sampling.samplers import SAMPLERS, sampler
from runtime.sampling.sigmas import SCHEDULERS, karras, schedule
from tests.runtime.sampling_fixtures import driven, gaussian, sd15

MEAN, SPREAD = 0.7, 2.0
GUIDED = [name for name, definition in SAMPLERS.items() if definition.needs_uncond]
DETERMINISTIC = [name for name, definition in SAMPLERS.items() if definition.noise == NO_NOISE and name not in GUIDED]
STOCHASTIC = [name for name, definition in SAMPLERS.items() if definition.noise != NO_NOISE and name not in GUIDED]

# sampler -> (order of convergence seen at least, largest error at 48 steps)
ORDERS = {
    "euler": (0.95, 0.06),
    "ddim": (0.95, 0.06),
    "heun": (1.9, 0.003),
    "heunpp2": (0.95, 0.03),  # its weights are those of no consistent second-order method
    "dpm_2": (1.9, 0.002),
    "lms": (2.5, 0.001),
    "dpm_fast": (1.0, 0.0003),
    "dpm_adaptive": (0.0, 0.01),  # chooses its own steps: the tolerance, whatever the schedule
    "dpmpp_2m": (1.9, 0.0015),
    "ipndm": (0.8, 0.0005),  # right to high order on even steps only
    "ipndm_v": (1.9, 0.003),
    "deis": (1.9, 0.0006),
    "res_multistep": (1.9, 0.003),
    "exp_heun_2_x0": (1.9, 0.003),
    "gradient_estimation": (0.85, 0.06),
    "uni_pc": (0.3, 0.00005),
    "uni_pc_bh2": (2.0, 0.00005),
}


def exact(x: Tensor, sigma: Tensor, start: Tensor) -> Tensor:
    return MEAN + (x - MEAN) * ((SPREAD**2 + sigma**2) / (SPREAD**2 + start**2)) ** 0.5


def ode_error(name: str, steps: int) -> float:
    sigmas = torch.linspace(math.log(10), math.log(0.1), steps + 1, dtype=torch.float64).exp()
    x = torch.linspace(-12, 12, 64, dtype=torch.float64).reshape(1, 4, 4, 4)
    running = SAMPLERS[name].start(x, sigmas, None, sd15())
    result = driven(running, lambda x, s: Prediction(gaussian(x, s, SPREAD, MEAN)))
    return float((result - exact(x, sigmas[-1], sigmas[0])).abs().max())


def test_every_deterministic_sampler_has_a_stated_order() -> None:
    assert set(DETERMINISTIC) == set(ORDERS)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_of_convergence(name: str) -> None:
    order, bound = ORDERS[name]
    few, middle, many = (ode_error(name, steps) for steps in (24, 48, 96))
    assert middle < bound
    assert math.log2(few / many) / 2 >= order


def step_noise(name: str, x: Tensor, sigmas: Tensor) -> StepNoise | None:
    kind = SAMPLERS[name].noise
    if kind == NO_NOISE:
        return None
    return brownian_noise(x, sigmas, 5) if kind == BROWNIAN else independent_noise(x, 5)


@pytest.mark.parametrize("name", [n for n in STOCHASTIC if n != "lcm" and not n.endswith("_gpu")])
def test_stochastic_samplers_keep_the_distribution(name: str) -> None:
    """16384 independent normal values go in; with many steps mean and spread of the data come out."""
    sigmas = karras(sd15(), 60)
    generator = torch.Generator().manual_seed(1)
    start = MEAN + math.sqrt(SPREAD**2 + float(sigmas[0]) ** 2) * torch.randn(1, 4, 64, 64, generator=generator)
    running = SAMPLERS[name].start(start, sigmas, step_noise(name, start, sigmas), sd15())
    result = driven(running, lambda x, s: Prediction(gaussian(x, s, SPREAD, MEAN)))
    assert result.mean().item() == pytest.approx(MEAN, abs=0.06)
    assert result.std().item() == pytest.approx(SPREAD, rel=0.05)


def test_lcm_jumps_to_the_prediction_and_noises_it_again() -> None:
    sigmas = schedule(sd15(), "sgm_uniform", 4)
    x = torch.full((1, 4, 8, 8), 5.0)
    expected = x
    draw = independent_noise(x, 3)
    for sigma, sigma_next in pairwise(sigmas):
        expected = gaussian(expected, sigma)
        if sigma_next > 0:
            expected = expected + sigma_next * draw(sigma, sigma_next)
    running = SAMPLERS["lcm"].start(x, sigmas, independent_noise(x, 3), sd15())
    result = driven(running, lambda x, s: Prediction(gaussian(x, s)))
    assert torch.equal(result, expected)


def test_ddpm_is_euler_ancestral() -> None:
    sigmas = schedule(sd15(), "normal", 8)
    x = sigmas[0] * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    ddpm, euler = (
        driven(SAMPLERS[n].start(x, sigmas, independent_noise(x, 3), sd15()), lambda x, s: Prediction(gaussian(x, s)))
        for n in ("ddpm", "euler_ancestral")
    )
    torch.testing.assert_close(ddpm, euler, rtol=0, atol=2e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("name", list(SAMPLERS))
def test_few_steps_end_finite_and_in_the_shape_they_began(name: str, steps: int) -> None:
    sigmas = schedule(sd15(), "normal", steps)
    x = sigmas[0] * torch.randn(2, 4, 5, 7, generator=torch.Generator().manual_seed(2))

    def denoise(x: Tensor, sigma: Tensor) -> Prediction:
        assert sigma.ndim == 0
        assert sigma > 0
        assert x.dtype == torch.float32
        return Prediction(gaussian(x, sigma), gaussian(x, sigma, 1.5, 0.2))

    result = driven(SAMPLERS[name].start(x, sigmas, step_noise(name, x, sigmas), sd15()), denoise)
    assert result.shape == x.shape
    assert torch.isfinite(result).all()


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
@pytest.mark.parametrize("end", [0.0, 3.0])
def test_uni_pc_over_one_interval_takes_no_step(name: str, end: float) -> None:
    """As in ComfyUI, whose order is 0 there: the state comes back at the level of the end."""
    sigmas = torch.tensor([8.0, end])
    x = sigmas[0] * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    running = SAMPLERS[name].start(x, sigmas, step_noise(name, x, sigmas), sd15())
    result = driven(running, lambda x, s: Prediction(gaussian(x, s)))
    level = max(end, 0.001)
    expected = x / math.sqrt(1 + 8.0**2) * math.sqrt(1 + level**2)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in SAMPLERS if not n.startswith(("dpm_fast", "dpm_adaptive"))])
def test_a_prediction_that_never_changes_is_reached(name: str) -> None:
    """Where the model always sees the same clean latent, every sampler that goes to sigma 0 ends on it."""
    target = torch.linspace(-3, 3, 4 * 64).reshape(1, 4, 8, 8)
    sigmas = schedule(sd15(), "normal", 6)
    x = target + sigmas[0] * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    running = SAMPLERS[name].start(x, sigmas, step_noise(name, x, sigmas), sd15())
    result = driven(running, lambda x, s: Prediction(target, target))
    torch.testing.assert_close(result, target, rtol=0, atol=5e-3)  # uni_pc stops at sigma 0.001


def test_ancestral_steps_keep_the_variance() -> None:
    down, up = ancestral_step(torch.tensor(5.0), torch.tensor(3.0))
    assert float(down**2 + up**2) == pytest.approx(9.0, rel=1e-6)
    assert [float(part) for part in ancestral_step(torch.tensor(5.0), torch.tensor(0.0))] == [0.0, 0.0]


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(RunError, match="unknown sampler"):
        sampler("no_such")


@pytest.mark.parametrize("name", [n for n in GUIDED if not n.startswith("dpmpp_2s")])
def test_cfg_pp_without_guidance_is_its_plain_sampler(name: str) -> None:
    """Where the unconditional prediction is the guided one, nothing is left of CFG++."""
    sigmas = schedule(sd15(), "karras", 8)
    x = sigmas[0] * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))

    def denoise(x: Tensor, sigma: Tensor) -> Prediction:
        prediction = gaussian(x, sigma)
        return Prediction(prediction, prediction)

    guided, plain = (
        driven(SAMPLERS[n].start(x, sigmas, step_noise(n, x, sigmas), sd15()), denoise)
        for n in (name, name.replace("_cfg_pp", ""))
    )
    torch.testing.assert_close(guided, plain, rtol=0, atol=2e-4)


def test_every_name_that_the_nodes_offer_is_there() -> None:
    for known, name in ((SAMPLERS, "sampler_name"), (SCHEDULERS, "scheduler")):
        declared = NODES["KSampler"].input(name)
        assert declared is not None
        assert set(known) == set(declared.options or ())


@pytest.mark.parametrize("name", ["exp_heun_2_x0", "exp_heun_2_x0_sde"])
def test_an_exponential_heun_step_is_exact_where_the_prediction_is_linear_in_log_snr(name: str) -> None:
    """Where x0 changes with lambda as a + b * lambda, both stages see it exactly and so does their weighted sum."""
    sigmas = torch.tensor([4.0, 1.5], dtype=torch.float64)
    x = torch.linspace(-5, 5, 64, dtype=torch.float64).reshape(1, 4, 4, 4)
    quiet = lambda a, b: torch.zeros_like(x)  # noqa: E731
    running = SAMPLERS[name].start(x, sigmas, quiet, sd15())
    result = driven(running, lambda x, s: Prediction(torch.full_like(x, 1.0) - 0.5 * s.log()))
    rate = 2.0 if name.endswith("sde") else 1.0
    start, end = -math.log(4.0), -math.log(1.5)
    # x(end) = sigma ratio^rate * x + the integral of rate * exp(-rate * (end - l)) * (1 + l / 2)
    points = torch.linspace(start, end, 20001, dtype=torch.float64)
    integral = torch.trapezoid(rate * (-rate * (end - points)).exp() * (1 + 0.5 * points), points)
    torch.testing.assert_close(result, math.exp(-rate * (end - start)) * x + integral, rtol=0, atol=1e-6)
