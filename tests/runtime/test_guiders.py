"""Kinds of guiders, and the patches that guidance goes through."""

from __future__ import annotations

import torch
from torch import Tensor

from runtime.sampling.batching import alone
from runtime.sampling.conditions import Patch
from runtime.sampling.guidance import Guidance
from runtime.sampling.guiders import GUIDERS
from runtime.sampling.patches import known
from tests.runtime.recording_network import SIZE, RecordingNetwork, entry
from tests.runtime.sampling_fixtures import sd15

SIGMA = torch.tensor(2.0)


def both(x: Tensor) -> tuple[Tensor, Tensor]:
    """What the two entries 1.0 and 0.5 predict."""
    return x - SIGMA * 1.0, x - SIGMA * 0.5


def guided(kind: str, numbers: dict[str, float], values: dict[str, float], *patches: Patch) -> Tensor:
    sides = {name: [entry(value)] for name, value in values.items()}
    guidance = Guidance(RecordingNetwork(), sd15(), GUIDERS[kind], sides, numbers, known(patches))
    return alone(guidance(noise(), SIGMA)).denoised


def noise() -> Tensor:
    return torch.randn(2, 4, *SIZE, generator=torch.Generator().manual_seed(5))


def test_the_basic_guider_has_one_side() -> None:
    torch.testing.assert_close(guided("basic", {}, {"positive": 1.0}), both(noise())[0])


def test_perp_neg_takes_out_what_lies_along_the_positive_direction() -> None:
    """All three predictions differ by constants: the negative direction lies along the positive one wholly."""
    values = {"positive": 1.0, "negative": 0.5, "empty": 0.25}
    found = guided("perp_neg", {"cfg": 6.0, "neg_scale": 1.2}, values)
    torch.testing.assert_close(found, noise() - SIGMA * (0.25 + 6.0 * 0.75))


def test_two_scales_go_from_the_negative_by_the_middle_to_the_positive() -> None:
    values = {"positive": 1.0, "middle": 0.5, "negative": 0.25}
    numbers = {"cfg": 3.0, "cfg_negative": 2.0}
    expected = noise() - SIGMA * (0.25 + 2.0 * 0.25 + 3.0 * 0.5)
    torch.testing.assert_close(guided("dual", numbers, values), expected)
    nested = noise() - SIGMA * (0.25 + 2.0 * (0.5 + 3.0 * 0.5 - 0.25))
    torch.testing.assert_close(guided("dual_nested", numbers, values), nested)


def test_rescaled_guidance_has_the_deviation_of_the_conditional_v() -> None:
    """At multiplier 1, in v: (x / (s^2 + 1) - denoised) sqrt(s^2 + 1) / s."""
    x, (cond, _) = noise(), both(noise())
    values = {"positive": 1.0, "negative": 0.5}
    found = guided("cfg", {"cfg": 7.0}, values, Patch("rescale_cfg", (1.0,)))
    plain = guided("cfg", {"cfg": 7.0}, values)

    def deviation(denoised: Tensor) -> Tensor:
        return ((x / (SIGMA**2 + 1) - denoised) * (SIGMA**2 + 1) ** 0.5 / SIGMA).std(dim=(1, 2, 3))

    torch.testing.assert_close(deviation(found), deviation(cond))
    torch.testing.assert_close(guided("cfg", {"cfg": 7.0}, values, Patch("rescale_cfg", (0.0,))), plain)


def test_cfg_zero_star_scales_the_unconditional_prediction_by_its_projection() -> None:
    """x - denoised is sigma times a constant: their projection is the ratio of the constants, 2."""
    cond, uncond = both(noise())
    found = guided("cfg", {"cfg": 7.0}, {"positive": 1.0, "negative": 0.5}, Patch("cfg_zero_star"))
    plain = uncond + 7.0 * (cond - uncond)
    torch.testing.assert_close(found, plain + uncond * (2.0 - 1.0) + 7.0 * uncond * (1.0 - 2.0))


def test_patches_are_not_asked_where_nothing_is_guided() -> None:
    found = guided("cfg", {"cfg": 1.0}, {"positive": 1.0, "negative": 0.5}, Patch("cfg_zero_star"))
    torch.testing.assert_close(found, both(noise())[0])
