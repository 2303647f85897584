"""Sigma tables and schedules equal the recorded ones bit for bit in float32, on this machine's libm."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphs.errors import RunError
from runtime.sampling.paths import model_sampling
from runtime.sampling.sigmas import SCHEDULERS, ksampler_sigmas, schedule, step_range
from tests.runtime.sampling_fixtures import SD15, sd15, table

TABLE = table("sigmas")
ULP = 2**-23  # transcendental functions may differ in the last bit between machines


def assert_equal(got: torch.Tensor, wanted: list[float]) -> None:
    torch.testing.assert_close(got, torch.tensor(wanted), rtol=ULP, atol=0.0)


def test_the_noise_table_is_exact() -> None:
    assert_equal(sd15().sigmas, TABLE["sigmas_1000"])


def test_the_noise_table_with_zero_terminal_snr_is_exact() -> None:
    model = model_sampling({**SD15, "schedule": {**SD15["schedule"], "zero_terminal_snr": True}})
    assert_equal(model.sigmas, TABLE["zsnr_sigmas_1000"])


@pytest.mark.parametrize("key", [k for k in TABLE["schedules"] if k != "kl_optimal/1"])
def test_every_schedule_is_exact(key: str) -> None:
    name, steps = key.split("/")
    assert_equal(schedule(sd15(), name, int(steps)), TABLE["schedules"][key])


def test_all_nine_schedulers_were_recorded() -> None:
    assert {key.split("/")[0] for key in TABLE["schedules"]} == set(SCHEDULERS)
    assert len(SCHEDULERS) == 9


def test_kl_optimal_with_one_step_says_why_it_cannot() -> None:
    assert math.isnan(TABLE["schedules"]["kl_optimal/1"][0])
    with pytest.raises(RunError, match="needs two steps"):
        schedule(sd15(), "kl_optimal", 1)


@pytest.mark.parametrize("key", list(TABLE["ksampler"]))
def test_ksampler_with_denoise_and_dropped_sigmas_is_exact(key: str) -> None:
    scheduler, sampler, steps, denoise = key.split("/")
    got = ksampler_sigmas(sd15(), scheduler, int(steps), float(denoise), sampler)
    assert_equal(got, TABLE["ksampler"][key])


@pytest.mark.parametrize(("percent", "sigma"), [(float(p), s) for p, s in TABLE["percent_to_sigma"].items()])
def test_percent_to_sigma(percent: float, sigma: float) -> None:
    assert sd15().percent_to_sigma(percent) == pytest.approx(sigma, rel=ULP)


def test_sigma_of_timestep_and_back() -> None:
    recorded = TABLE["sigma_of_timestep"]
    assert_equal(sd15().sigma(torch.tensor(recorded["t"])), recorded["sigma"])
    recorded = TABLE["timestep_of_sigma"]
    assert sd15().timestep(torch.tensor(recorded["sigma"])).tolist() == recorded["t"]


@given(st.integers(0, 999))
def test_every_table_entry_is_its_own_timestep(t: int) -> None:
    model = sd15()
    assert model.timestep(model.sigmas[t]).item() == t


@given(st.sampled_from(sorted(set(SCHEDULERS) - {"kl_optimal"})), st.integers(1, 120))
def test_schedules_fall_strictly_to_zero(name: str, steps: int) -> None:
    sigmas = schedule(sd15(), name, steps)
    assert sigmas.dtype == torch.float32
    assert sigmas[-1] == 0
    if name != "linear_quadratic":  # starts at sigma_max exactly, falls by a thousandth a step
        assert sigmas[0] <= sd15().sigmas[-1] * (1 + 1e-6)
    assert (sigmas[:-1] > sigmas[1:]).all()


def test_step_ranges_join_to_the_whole() -> None:
    sigmas = schedule(sd15(), "normal", 6)
    first, second = step_range(sigmas, 0, 4, False), step_range(sigmas, 4, 10000, False)
    assert torch.equal(torch.cat([first, second[1:]]), sigmas)


def test_an_early_end_with_full_denoise_ends_in_zero() -> None:
    sigmas = schedule(sd15(), "normal", 6)
    cut = step_range(sigmas, 0, 4, True)
    assert cut.tolist() == [*sigmas[:4].tolist(), 0.0]
    assert sigmas[4] != 0, "the schedule itself is not changed"


@pytest.mark.parametrize(("start", "end"), [(6, None), (10, None), (0, 0), (4, 4), (5, 2)])
def test_a_range_without_steps_is_empty(start: int, end: int | None) -> None:
    assert len(step_range(schedule(sd15(), "normal", 6), start, end, True)) == 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({**SD15, "prediction": "flow"}, "unknown prediction"),
        ({**SD15, "schedule": {"kind": "cosine"}}, "unknown noise schedule"),
    ],
)
def test_unknown_models_are_refused(model: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        model_sampling(model)


@pytest.mark.parametrize(("name", "steps"), [("no_such", 4), ("normal", 0)])
def test_unknown_schedules_are_refused(name: str, steps: int) -> None:
    with pytest.raises(RunError):
        schedule(sd15(), name, steps)


def test_predictions_recover_the_clean_latent() -> None:
    """x = x0 + sigma * noise; eps gives noise, v gives (noise - sigma * x0) / sqrt(1 + sigma^2)."""
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(3)).unbind()
    sigma = torch.tensor(3.0)
    x = clean + sigma * noise
    v = (noise - sigma * clean) / (1 + sigma**2) ** 0.5
    eps_model, v_model = sd15(), model_sampling({**SD15, "prediction": "v"})
    torch.testing.assert_close(eps_model.denoised(x, noise, sigma), clean, rtol=0, atol=1e-5)
    torch.testing.assert_close(v_model.denoised(x, v, sigma), clean, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("steps", "denoise"), [(1, 1e-9), (20, 1e-300), (10_000, 0.05)])
def test_a_schedule_without_end_is_refused(steps: int, denoise: float) -> None:
    with pytest.raises(RunError, match="too many steps"):
        ksampler_sigmas(sd15(), "normal", steps, denoise)
