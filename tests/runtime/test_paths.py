"""EDM and flow models against their formulas; what a discrete model's other predictions mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graphs.errors import RunError
from runtime.sampling.model_sampling import ModelSampling
from runtime.sampling.paths import model_sampling
from runtime.sampling.sigmas import schedule
from tests.runtime.sampling_fixtures import SD15, sd15

FLOW = {"kind": "flow", "shift": 3.0, "multiplier": 1000.0, "timesteps": 1000}
EDM = {"kind": "edm", "sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 0.5}


def flow(**schedule: Any) -> ModelSampling:
    return model_sampling({**SD15, "prediction": "flow", "schedule": {**FLOW, **schedule}})


def edm(prediction: str = "edm") -> ModelSampling:
    return model_sampling({**SD15, "prediction": prediction, "schedule": EDM})


def pair() -> tuple[Tensor, Tensor]:
    """Data and noise."""
    data, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(3)).unbind()
    return data, noise


@pytest.mark.parametrize("sigma", [0.05, 0.5, 0.999])
def test_a_flow_is_a_straight_line_from_noise_to_data(sigma: float) -> None:
    model, (data, noise), s = flow(), pair(), torch.tensor(sigma)
    x = model.noise_latent(data, noise, s, max_denoise=False)
    torch.testing.assert_close(x, (1 - s) * data + s * noise)
    torch.testing.assert_close(model.denoised(x, noise - data, s), data, rtol=0, atol=1e-5)
    assert model.scale_input(x, s) is x
    torch.testing.assert_close(model.half_log_snr(s), ((1 - s) / s).log())
    torch.testing.assert_close(model.sigma_of(model.half_log_snr(s)), s)
    torch.testing.assert_close(model.alpha(s), 1 - s)
    torch.testing.assert_close(model.latent_at((1 - s) * data, s), data, rtol=1e-4, atol=1e-4)


def test_times_of_a_flow_are_shifted() -> None:
    model, t = flow(), torch.tensor([250.0, 1000.0])
    torch.testing.assert_close(model.sigma(t), 3 * t / 1000 / (1 + 2 * t / 1000))
    assert float(model.timestep(torch.tensor(0.25))) == 250.0
    assert (model.sigma_max, len(model.sigmas)) == (1.0, 1000)
    assert model.sigma_min == pytest.approx(0.003 / 1.002)
    assert [model.percent_to_sigma(p) for p in (0.0, 1.0)] == [1.0, 0.0]
    assert model.percent_to_sigma(0.5) == pytest.approx(1.5 / 2)
    assert model.is_max_denoise(torch.tensor(1.0))
    assert not model.is_max_denoise(torch.tensor(0.99))


def test_flux_shifts_by_e_to_the_mu() -> None:
    model = model_sampling({"prediction": "flow", "schedule": {"kind": "flux", "mu": 1.15, "timesteps": 10000}})
    t = torch.tensor(0.3)
    expected = torch.tensor(1.15).exp() / (torch.tensor(1.15).exp() + 1 / t - 1)
    torch.testing.assert_close(model.sigma(t), expected)
    assert len(model.sigmas) == 10000


def test_a_flow_without_signal_at_its_start_starts_a_little_later_for_its_snr() -> None:
    model = flow()
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    moved = model.with_finite_snr(sigmas)
    assert moved[1:].tolist() == [0.5, 0.0]
    assert float(moved[0]) == pytest.approx(model.percent_to_sigma(1e-4))
    assert torch.isfinite(model.half_log_snr(moved[0]))
    assert model.with_finite_snr(sigmas[1:]) is not None
    assert model.with_finite_snr(sigmas[1:]).tolist() == [0.5, 0.0]


@pytest.mark.parametrize("name", ["simple", "normal", "sgm_uniform", "beta", "karras"])
def test_schedules_of_flows_and_edm_fall_to_zero(name: str) -> None:
    for model in (flow(), edm()):
        sigmas = schedule(model, name, 8)
        assert (sigmas[:-1] > sigmas[1:]).all()
        assert sigmas[-1] == 0
        assert float(sigmas[0]) <= model.sigma_max * (1 + 1e-5)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 40.0])
def test_edm_preconditions_as_in_table_1(sigma: float) -> None:
    model, (data, noise), s, d = edm(), pair(), torch.tensor(sigma), 0.5
    x = model.noise_latent(data, noise, s, max_denoise=False)
    torch.testing.assert_close(x, data + s * noise)
    c_in, c_skip = 1 / (s**2 + d**2).sqrt(), d**2 / (s**2 + d**2)
    c_out = s * d / (s**2 + d**2).sqrt()
    torch.testing.assert_close(model.scale_input(x, s), c_in * x)
    torch.testing.assert_close(model.denoised(x, noise, s), c_skip * x + c_out * noise)
    torch.testing.assert_close(edm("v").denoised(x, noise, s), c_skip * x - c_out * noise)
    torch.testing.assert_close(edm("eps").denoised(x, noise, s), data, rtol=0, atol=1e-4)
    torch.testing.assert_close(model.timestep(s), s.log() / 4)
    torch.testing.assert_close(model.sigma(model.timestep(s)), s)


def test_the_levels_of_edm_are_even_in_log_sigma() -> None:
    model = edm()
    steps = model.sigmas.double().log().diff()
    torch.testing.assert_close(steps, steps[:1].expand(999), rtol=1e-2, atol=0)
    assert model.sigma_min == pytest.approx(0.002)
    assert model.sigma_max == pytest.approx(120.0)
    assert model.percent_to_sigma(0.5) == pytest.approx((0.002 * 120.0) ** 0.5)


def test_an_x0_prediction_is_the_data_in_memory_of_its_own() -> None:
    data, noise = pair()
    found = model_sampling({**SD15, "prediction": "x0"}).denoised(noise, data, torch.tensor(3.0))
    assert torch.equal(found, data)
    assert found.data_ptr() != data.data_ptr()


def test_a_consistency_model_has_fifty_timesteps_and_a_boundary() -> None:
    model, whole, (data, noise) = model_sampling({**SD15, "prediction": "lcm"}), sd15(), pair()
    assert torch.equal(model.sigmas, whole.sigmas[19::20])
    assert model.timestep(model.sigmas).tolist() == list(range(19, 1000, 20))
    torch.testing.assert_close(model.sigma(torch.tensor([19.0, 999.0])), model.sigmas[[0, -1]])
    sigma = model.sigmas[0]
    x, time = data + sigma * noise, 190.0
    skip, out = 0.25 / (time**2 + 0.25), time / (time**2 + 0.25) ** 0.5
    torch.testing.assert_close(model.denoised(x, noise, sigma), out * data + skip * x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "facts", [{"prediction": "eps", "schedule": FLOW}, {"prediction": "x0", "schedule": EDM}, {"prediction": "flow"}]
)
def test_predictions_that_a_path_does_not_have_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="unknown prediction"):
        model_sampling({**SD15, **facts})
