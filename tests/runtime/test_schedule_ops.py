"""Schedules that a workflow makes in parts: each against its formula, and what splitting and joining must keep."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graphs.errors import RunError
from runtime.context import OpContext
from runtime.ops import sigmas as ops
from runtime.ops.schedule import beta_sigmas, make_sigmas, turbo_sigmas
from tests.runtime.op_context import context
from tests.runtime.sampling_fixtures import SD15, table

HIGH, LOW = 14.614642, 0.0291675


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> OpContext:
    return replace(context(tmp_path_factory.mktemp("run")), model=SD15)


def test_karras_between_the_models_own_ends_is_the_scheduler_of_that_name(here: OpContext) -> None:
    wanted = make_sigmas(here, 8, "karras", 1.0, "euler")
    got = ops.karras_sigmas(here, 8, float(wanted[0]), LOW, 7.0)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=0.0)


def test_beta_with_its_usual_numbers_is_the_scheduler_of_that_name(here: OpContext) -> None:
    assert torch.equal(beta_sigmas(here, 6, 0.6, 0.6), make_sigmas(here, 6, "beta", 1.0, "euler"))


@pytest.mark.parametrize("rho", [0.5, 1.0, 3.0])
def test_log_sigma_falls_as_a_power(here: OpContext, rho: float) -> None:
    got = ops.polyexponential_sigmas(here, 5, HIGH, LOW, rho)
    for n, sigma in enumerate(got[:-1].tolist()):
        share = (1 - n / 4) ** rho
        assert math.log(sigma) == pytest.approx(share * math.log(HIGH) + (1 - share) * math.log(LOW), abs=1e-5)
    assert got[-1] == 0


def test_exponential_is_polyexponential_of_power_one(here: OpContext) -> None:
    torch.testing.assert_close(
        ops.exponential_sigmas(here, 7, HIGH, LOW), ops.polyexponential_sigmas(here, 7, HIGH, LOW, 1.0)
    )


def test_the_variance_preserving_equation(here: OpContext) -> None:
    got = ops.vp_sigmas(here, 4, 19.9, 0.1, 1e-3)
    for t, sigma in zip((1.0, 0.667, 0.334, 0.001), got.tolist(), strict=False):
        assert sigma == pytest.approx(math.sqrt(math.exp(19.9 * t * t / 2 + 0.1 * t) - 1), rel=1e-4)


def test_laplace_is_symmetric_about_mu_and_has_no_zero(here: OpContext) -> None:
    got = ops.laplace_sigmas(here, 9, 1e6, 1e-6, 0.5, 0.7)
    logs = got.log() - 0.5
    torch.testing.assert_close(logs, -logs.flip(0), rtol=1e-4, atol=1e-4)
    assert (got > 0).all()
    assert len(got) == 9


def test_align_your_steps_has_its_table_and_lines_in_the_logarithm_between(here: OpContext) -> None:
    ten = ops.align_your_steps(here, "SD1", 10, 1.0)
    assert ten[:-1].tolist() == pytest.approx(list(ops.ALIGN_YOUR_STEPS["SD1"][:-1]))
    twenty = ops.align_your_steps(here, "SD1", 20, 1.0)
    assert twenty[::2][:-1].tolist() == pytest.approx(ten[:-1].tolist(), rel=1e-5)
    assert twenty[1] == pytest.approx(math.sqrt(float(twenty[0]) * float(twenty[2])), rel=1e-5)
    assert torch.equal(ops.align_your_steps(here, "SD1", 20, 0.5), twenty[-11:])
    assert len(ops.align_your_steps(here, "SD1", 20, 0.0)) == 0
    assert twenty[-1] == 0


def test_distilled_models_are_sampled_at_every_hundredth_timestep(here: OpContext) -> None:
    sigmas = torch.tensor(table("sigmas")["sigmas_1000"])
    torch.testing.assert_close(turbo_sigmas(here, 2, 1.0)[:2], sigmas[[999, 899]], rtol=1e-5, atol=0.0)
    torch.testing.assert_close(turbo_sigmas(here, 10, 0.5)[:-1], sigmas[[499, 399, 299, 199, 99]], rtol=1e-5, atol=0.0)


schedules = st.lists(st.integers(1, 10000).map(lambda n: n / 100), max_size=12).map(
    lambda levels: torch.tensor([*sorted(levels, reverse=True), 0.0])
)


@given(schedules, st.integers(0, 15))
def test_a_split_schedule_joins_to_the_whole(sigmas: Tensor, step: int) -> None:
    high, low = ops.split_sigmas(context(Path()), sigmas, step)
    if step < len(sigmas):
        assert torch.equal(torch.cat([high, low[1:]]), sigmas)
        assert high[-1] == low[0]
    else:
        assert torch.equal(high, sigmas)
        assert len(low) == 0


@given(schedules, st.floats(0.0, 1.0))
def test_a_share_of_the_steps_is_at_the_end(sigmas: Tensor, denoise: float) -> None:
    high, low = ops.split_sigmas_by_share(context(Path()), sigmas, denoise)
    kept = round((len(sigmas) - 1) * denoise)
    assert len(low) == kept + 1
    if kept:
        assert torch.equal(torch.cat([high, low[1:]]), sigmas)
    else:
        assert len(high) == 0


@given(schedules)
def test_a_flipped_schedule_starts_above_zero(sigmas: Tensor) -> None:
    flipped = ops.flip_sigmas(context(Path()), sigmas)
    assert torch.equal(flipped.flip(0)[:-1], sigmas[:-1])
    assert flipped[0] == pytest.approx(ops.NEARLY_ZERO)


@given(schedules, st.integers(1, 5), st.sampled_from(list(ops.SPACINGS)))
def test_an_extended_schedule_keeps_its_levels_and_falls(sigmas: Tensor, steps: int, spacing: str) -> None:
    longer = ops.extend_sigmas(context(Path()), sigmas, steps, -1.0, 0.0, spacing)
    assert len(longer) == (len(sigmas) - 1) * steps + 1
    assert torch.equal(longer[::steps], sigmas)
    assert (longer.diff() <= 1e-6).all()


def test_only_steps_between_two_levels_are_extended() -> None:
    sigmas = torch.tensor([10.0, 5.0, 1.0, 0.0])
    longer = ops.extend_sigmas(context(Path()), sigmas, 2, 6.0, 2.0, "linear")
    assert longer.tolist() == [10.0, 5.0, 3.0, 1.0, 0.0]


def test_numbers_are_read_out_of_a_text() -> None:
    assert ops.manual_sigmas(context(Path()), "14.6, 7; .5\n1e-1 0").tolist() == pytest.approx([14.6, 7, 0.5, 0.1, 0])
    assert len(ops.manual_sigmas(context(Path()), "none")) == 0


def test_the_first_level_is_set_in_a_copy() -> None:
    sigmas = torch.tensor([3.0, 1.0, 0.0])
    assert ops.set_first_sigma(context(Path()), sigmas, 9.0).tolist() == [9.0, 1.0, 0.0]
    assert sigmas[0] == 3.0
    assert len(ops.set_first_sigma(context(Path()), torch.empty(0), 9.0)) == 0


def test_numbers_without_a_logarithm_are_refused(here: OpContext) -> None:
    with pytest.raises(RunError, match="sigma_min above 0"):
        ops.exponential_sigmas(here, 4, 1.0, 0.0)
    with pytest.raises(RunError, match="rho above 0"):
        ops.karras_sigmas(here, 4, 1.0, 0.1, 0.0)
    with pytest.raises(RunError, match="alpha and beta"):
        beta_sigmas(here, 4, 0.0, 0.6)
