"""Guidance over conditioning entries: which calls are made, and how predictions blend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graphs.errors import RunError
from runtime.sampling.batching import alone
from runtime.sampling.conditions import Condition, Control, Place, Span, Text
from runtime.sampling.control import Acting
from runtime.sampling.entries import Area, Entry, add_twins, entries_of, fit_areas, share_controls, weight
from runtime.sampling.guidance import Guidance
from runtime.sampling.guiders import GUIDERS
from runtime.sampling.latent_format import LatentFormat
from runtime.sampling.sampler import Prediction
from tests.runtime.recording_network import SIZE, RecordingNetwork, entry, text
from tests.runtime.sampling_fixtures import FakeModule, sd15, text_eps

SIGMA = torch.tensor(2.0)


def latent(batch: int = 1) -> Tensor:
    return torch.zeros(batch, 4, *SIZE)


def guide(
    positive: list[Entry], negative: list[Entry], cfg: float = 7.0, **options: Any
) -> tuple[RecordingNetwork, Callable[[Tensor, Tensor], Prediction]]:
    network = RecordingNetwork()
    sides = {"positive": positive, "negative": negative}
    guidance = Guidance(network, sd15(), GUIDERS["cfg"], sides, {"cfg": cfg}, **options)
    return network, lambda x, sigma: alone(guidance(x, sigma))


def test_joint_guidance_is_one_call_negative_first() -> None:
    network, denoise = guide([entry(1.0)], [entry(0.5)])
    prediction = denoise(latent(2), SIGMA)
    assert network.calls == [((4, 4, *SIZE), [0.5, 0.5, 1.0, 1.0], 77)]
    torch.testing.assert_close(prediction.denoised, torch.full_like(latent(2), -2.0 * (0.5 + 7.0 * 0.5)))
    torch.testing.assert_close(prediction.uncond, torch.full_like(latent(2), -1.0))


def test_separate_guidance_is_a_call_each_with_the_same_result() -> None:
    network, denoise = guide([entry(1.0)], [entry(0.5)], joint=False)
    separate = denoise(latent(2), SIGMA)
    assert [call[0] for call in network.calls] == [(2, 4, *SIZE)] * 2
    joint = guide([entry(1.0)], [entry(0.5)])[1](latent(2), SIGMA)
    assert torch.equal(separate.denoised, joint.denoised)


@pytest.mark.parametrize(
    ("cfg", "calls"), [(1.0, [1.0]), (1.0 + 1e-10, [1.0]), (1.0001, [0.5, 1.0]), (0.0, [0.5, 1.0])]
)
def test_cfg_one_skips_the_negative_side(cfg: float, calls: list[float]) -> None:
    network, denoise = guide([entry(1.0)], [entry(0.5)], cfg)
    denoise(latent(), SIGMA)
    assert network.calls[0][1] == calls


def test_a_sampler_that_needs_uncond_gets_it_at_cfg_one() -> None:
    network, denoise = guide([entry(1.0)], [entry(0.5)], 1.0, needs_uncond=True)
    prediction = denoise(latent(), SIGMA)
    assert len(network.calls[0][1]) == 2
    torch.testing.assert_close(prediction.denoised, torch.full_like(latent(), -2.0))
    torch.testing.assert_close(prediction.unguided, torch.full_like(latent(), -1.0))


@pytest.mark.parametrize(("lengths", "joined"), [((77, 77), 77), ((154, 77), 154), ((77, 308), 308), ((154, 231), 462)])
def test_texts_of_different_length_are_repeated_to_a_common_one(lengths: tuple[int, int], joined: int) -> None:
    network, denoise = guide([entry(1.0, lengths[0])], [entry(0.5, lengths[1])])
    denoise(latent(), SIGMA)
    assert [call[2] for call in network.calls] == [joined]


@pytest.mark.parametrize("lengths", [(77, 385), (85, 77), (308, 385)])
def test_texts_that_would_repeat_more_than_four_times_stay_apart(lengths: tuple[int, int]) -> None:
    network, denoise = guide([entry(1.0, lengths[0])], [entry(0.5, lengths[1])])
    denoise(latent(), SIGMA)
    assert sorted(call[2] for call in network.calls) == sorted(lengths)


def test_two_entries_without_areas_are_averaged_by_strength() -> None:
    _, denoise = guide([entry(1.0, strength=3.0), entry(2.0)], [entry(0.0)], 1.0)
    torch.testing.assert_close(denoise(latent(), SIGMA).denoised, torch.full_like(latent(), -2.0 * (3 * 1 + 2) / 4))


def test_an_area_counts_only_there_and_only_there_is_evaluated() -> None:
    network, denoise = guide([entry(1.0), entry(5.0, area=Area(16, 8, 0, 16), strength=1e6)], [entry(0.0)], 1.0)
    denoised = denoise(latent(), SIGMA).denoised
    assert sorted(call[0] for call in network.calls) == [(1, 4, 16, 8), (1, 4, 16, 24)]
    torch.testing.assert_close(denoised[..., :16], torch.full((1, 4, 16, 16), -2.0))
    torch.testing.assert_close(denoised[..., 18:], torch.full((1, 4, 16, 6), -10.0), rtol=1e-4, atol=0)


def test_areas_of_one_size_share_a_call() -> None:
    halves = [entry(1.0, area=Area(16, 12, 0, 0)), entry(2.0, area=Area(16, 12, 0, 12))]
    network, denoise = guide(halves, [entry(0.0)], 1.0)
    denoise(latent(), SIGMA)
    assert [call[0] for call in network.calls] == [(2, 4, 16, 12)]


def test_where_nothing_counts_the_prediction_is_zero() -> None:
    _, denoise = guide([entry(1.0, area=Area(8, 8, 0, 0))], [entry(0.0)], 1.0)
    denoised = denoise(latent() + 1, SIGMA).denoised
    assert torch.equal(denoised[..., 8:, :], torch.zeros(1, 4, 8, 24))
    assert (denoised[..., :8, :8] == -1.0).all()


def test_an_entry_counts_in_its_part_of_the_schedule() -> None:
    network, denoise = guide([entry(1.0, low=1.0), entry(2.0, high=1.0)], [entry(0.0)], 1.0)
    for sigma in (5.0, 1.0, 0.5):
        denoise(latent(), torch.tensor(sigma))
    assert [sorted(call[1]) for call in network.calls] == [[1.0], [1.0, 2.0], [2.0]]


def test_inner_edges_of_an_area_fade_over_eight_units_or_a_quarter() -> None:
    mult = weight(entry(1.0, area=Area(16, 12, 0, 12)), latent())[0, 0]
    assert mult.shape == (16, 12)
    torch.testing.assert_close(mult[0], torch.tensor([1 / 3, 2 / 3, *[1.0] * 10]))
    assert (mult == mult[0]).all(), "the upper, lower and right edges lie on the edge of the latent"


def test_a_mask_weighs_without_fading() -> None:
    mask = torch.linspace(0, 1, 24).expand(1, 16, 24)
    mult = weight(entry(1.0, mask=mask, strength=0.5, area=Area(16, 12, 0, 12)), latent(2))
    torch.testing.assert_close(mult[1, 3], 0.5 * mask[0, :, 12:])


def made_of(place: Place | None = None, span: Span | None = None, **options: Any) -> Entry:
    """The entry that a condition becomes."""
    given = {**options, **({} if place is None else {"place": place}), **({} if span is None else {"span": span})}
    condition = Condition(Text(text(1.0)), **given)
    return entries_of({"positive": [condition]}, SIZE, sd15(), LatentFormat())["positive"][0]


def test_conditions_become_entries() -> None:
    made = made_of(Place((0.5, 0.25, 0.5, 0.75), shares=True, strength=0.4), Span(0.5, 1.0))
    assert made.area == Area(8, 6, 8, 18)
    assert made.strength == 0.4
    assert made.high == pytest.approx(1.6155803203582764)
    assert made.low == 0.0
    assert made_of(Place((64, 48, 64, 144))).area == Area(8, 6, 8, 18), "in pixels"
    assert made_of().plain


def test_a_mask_is_fitted_to_the_latent_and_can_bound_the_area() -> None:
    mask = torch.zeros(1, 128, 192)
    mask[:, 40:80, 80:96] = 1.0
    made = made_of(Place(mask=mask, mask_strength=0.5, bounds=True))
    assert made.area == Area(8, 8, 5, 10)
    assert made.mask is not None
    assert made.mask.shape == (1, 16, 24)
    assert made.mask.max() == 0.5
    assert made_of(Place(mask=torch.zeros(1, 16, 24), bounds=True)).area == Area(8, 8, 0, 0)


def test_areas_are_cut_at_the_edge_and_refused_outside() -> None:
    (fitted,) = fit_areas([entry(1.0, area=Area(16, 20, 0, 10))], SIZE)
    assert fitted.area == Area(16, 14, 0, 10)
    (whole,) = fit_areas([entry(1.0, area=Area(99, 99, 0, 0))], SIZE)
    assert whole.plain
    with pytest.raises(RunError, match="lies outside"):
        fit_areas([entry(1.0, area=Area(8, 8, 16, 0))], SIZE)


def test_each_area_gets_a_twin_on_the_other_side() -> None:
    area = Area(16, 12, 0, 0)
    positive = [entry(1.0), entry(2.0, area=area, strength=0.7)]
    twins = add_twins([entry(0.5)], positive)
    assert [(float(t.text.tensor.mean()), t.area, t.strength) for t in twins] == [(0.5, None, 1.0), (0.5, area, 0.7)]
    assert len(add_twins(positive, twins)) == 2, "both sides have it now"


def test_a_twin_takes_the_text_of_the_smallest_area_around_it() -> None:
    here = [entry(1.0), entry(2.0, area=Area(16, 16, 0, 0)), entry(3.0, area=Area(12, 12, 0, 0))]
    twins = add_twins(here, [entry(9.0, area=Area(8, 8, 2, 2)), entry(9.0, area=Area(16, 8, 0, 16))])
    assert [float(t.text.tensor.mean()) for t in twins[3:]] == [3.0, 1.0]


# --- ControlNets


def control(index: int = 0, strength: float = 1.0, **options: Any) -> Acting:
    return Acting(index, strength, **{"high": 100.0, "low": 0.0, **options})


def bound(value: float, strength: float = 1.0, span: Span | None = None) -> Control:
    """A ControlNet with a text."""
    module = FakeModule(text_eps)
    return Control(lambda role: module, torch.zeros(1, 8, 8, 3), Text(text(value)), strength, span or Span())


def controlled(value: float, *controls: Acting, **options: Any) -> Entry:
    """An entry whose text a ControlNet sees as ten times its value."""
    return entry(value, acting=controls, controls=tuple(bound(10 * value + index) for index in range(2)), **options)


def test_entries_with_the_same_controls_share_a_call_and_hand_over_their_texts() -> None:
    network, denoise = guide([controlled(1.0, control())], [controlled(0.5, control())])
    denoise(latent(2), SIGMA)
    assert network.calls == [((4, 4, *SIZE), [0.5, 0.5, 1.0, 1.0], 77)]
    assert network.controls == [[(0, [5.0, 5.0, 10.0, 10.0])]]


def test_entries_with_other_controls_or_strengths_are_called_apart() -> None:
    for other in ((), (control(strength=0.5),), (control(1),)):
        network, denoise = guide([controlled(1.0, control())], [controlled(0.5, *other)])
        denoise(latent(), SIGMA)
        assert [len(call[1]) for call in network.calls] == [1, 1]


def test_a_control_acts_in_its_part_of_the_schedule_only() -> None:
    network, denoise = guide([controlled(1.0, control(high=3.0, low=1.0))], [entry(0.5)])
    for sigma in (3.5, 3.0, 1.0, 0.5):
        denoise(latent(), torch.tensor(sigma))
    acted = [[index for index, _ in found] for found in network.controls]
    assert acted == [[], [], [0], [], [0], []]  # outside: one joint call; inside: negative, then positive


def test_an_entry_names_those_of_the_guiders_controls_that_act_on_it() -> None:
    controls = (bound(2.0, 0.5), bound(3.0, 0.0))
    made = made_of(controls=controls, acting=((0, True), (1, False)))
    assert made.acting == (Acting(0, 0.5, sd15().percent_to_sigma(0.0), 0.0, True),)  # strength 0 is none
    assert made.acting[0].shared
    with pytest.raises(RunError, match="control 2 of 2"):
        made_of(controls=controls, acting=((2, True),))


def test_a_shared_control_goes_to_the_other_side_unless_that_has_its_own() -> None:
    shared, own = control(shared=True), control(1)
    assert [e.acting for e in share_controls([controlled(1.0, shared)], [entry(0.5)])] == [(shared,)]
    assert [e.acting for e in share_controls([controlled(1.0, own)], [entry(0.5)])] == [()]
    assert [e.acting for e in share_controls([controlled(1.0, shared)], [controlled(0.5, own)])] == [(own,)]
    # the last control decides for the whole chain
    assert [e.acting for e in share_controls([controlled(1.0, shared, own)], [entry(0.5)])] == [()]


def test_shared_controls_go_round_the_entries_of_the_other_side() -> None:
    givers = [controlled(1.0, control(0, shared=True)), controlled(2.0, control(1, shared=True))]
    taken = share_controls(givers, [entry(0.5)])
    assert [[c.index for c in e.acting] for e in taken] == [[0], [1]]
    corner = controlled(1.0, control(shared=True), area=Area(8, 8, 0, 0))
    assert [e.acting for e in share_controls([corner], [entry(0.5)])] == [()]
