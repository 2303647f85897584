"""Differential diffusion: a noise mask that says when a place is sampled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from runtime.ops.sample import sample
from runtime.ops.schedule import make_noise, make_sigmas, sampler
from runtime.sampling.batching import alone
from runtime.sampling.inpaint import Differential
from runtime.values import Latent
from tests.runtime.sampling_fixtures import FakeModule, cfg_guider, context, sd15, text_eps, texts

TEXT = torch.full((1, 77, 8), 0.4)


def test_a_place_is_sampled_from_the_time_on_that_its_brightness_says() -> None:
    model = sd15()
    sigmas = torch.cat([model.sigma(torch.tensor([999.0, 749.0, 250.0, 0.0])), torch.zeros(1)])
    timed = Differential.over(model, sigmas, 1.0)
    mask = torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0])
    found = [timed.mask(mask, sigma).tolist() for sigma in sigmas[:-1]]
    assert found == [[0, 0, 0, 0, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]


def test_a_schedule_that_stops_early_ends_its_times_there() -> None:
    model = sd15()
    sigmas = model.sigma(torch.tensor([999.0, 700.0, 500.0]))
    assert int(Differential.over(model, sigmas, 1.0).last) == 500
    assert int(Differential.over(model, torch.cat([sigmas, torch.zeros(1)]), 1.0).last) == 0


def test_strength_mixes_it_with_the_mask_itself() -> None:
    model = sd15()
    sigmas = model.sigma(torch.tensor([999.0, 0.0]))
    timed = Differential.over(model, sigmas, 0.25)
    torch.testing.assert_close(timed.mask(torch.tensor([0.6]), sigmas[0]), torch.tensor([0.45]))


def run(mask: Tensor | None, differential: float | None) -> Tensor:
    here = context({"denoiser": FakeModule(text_eps)})
    latent = Latent(torch.linspace(-5, 5, 256).reshape(1, 4, 8, 8), mask)
    sigmas = make_sigmas(here, 6, "normal", 1.0, "euler")
    noise = make_noise(here, latent, 3)
    patches = {} if differential is None else {"differential_diffusion": (differential,)}
    positive, negative = texts(here, TEXT, -TEXT)
    guider = cfg_guider(here, positive, negative, 5.0, **patches)
    return alone(sample(here, latent, noise, sigmas, sampler(here, "euler"), guider))[0].samples


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_of_black_and_white_is_sampled_as_without_it_but_for_black_at_the_end(value: float) -> None:
    mask = torch.full((1, 1, 8, 8), value)
    plain, timed = run(mask, None), run(mask, 1.0)
    if value == 1.0:
        torch.testing.assert_close(timed, plain)
        torch.testing.assert_close(timed, run(None, 1.0))
    else:
        assert (timed - plain).abs().max() > 0  # the last timestep reaches black, too
        assert (timed - plain).abs().max() < 1


def test_grey_is_sampled_later_and_strength_0_is_the_plain_mask() -> None:
    mask = torch.full((1, 1, 8, 8), 0.5)
    plain, timed = run(mask, None), run(mask, 1.0)
    torch.testing.assert_close(run(mask, 0.0), plain)
    assert (timed - plain).abs().mean() > 0.01
