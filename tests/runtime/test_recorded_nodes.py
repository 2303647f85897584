"""Nodes on the host against what ComfyUI wrote: every recorded workflow that needs no model file, start to end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from compiler.lowering.lower import lower
from graphs.plan import Plan, Profile
from graphs.plan_json import save_plan
from graphs.schemas import builtin
from graphs.workflow import read_workflow, to_api
from runtime.ops import latent_edits as latents
from runtime.session import Session
from runtime.values import Latent
from tests.parity.cases import DATA, INPUTS, Case, all_cases
from tests.parity.comparison import compare
from tests.runtime.op_context import context

CASES = [case for case in all_cases() if not case.files]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_recorded_picture(case: Case, tmp_path: Path) -> None:
    graph = read_workflow(case.workflow, builtin())
    plan = Plan(lower(graph), {}, Profile(), "eager", "cpu", case.compat, to_api(graph))
    save_plan(plan, None, tmp_path / "plan")
    with Session.open(tmp_path / "plan") as session:
        files = session.run(input_dir=INPUTS, output_dir=tmp_path, temp_dir=tmp_path).files
    distance = compare(case, [], [Path(file.path) for file in files])
    assert not distance.problem
    assert distance.pixel <= 1


def test_there_are_cases() -> None:
    assert len(CASES) >= 27


# --- latents: what ComfyUI recorded of one encoded picture gives the latent back, so that no VAE is needed


def recorded(name: str) -> Tensor:
    return load_file(DATA / "goldens" / name / "latent.safetensors")["latent_tensor"]


@pytest.fixture(scope="module")
def first() -> Latent:
    """The encoded photo of 192x128: (1, 4, 16, 24). Its mirror image was recorded."""
    return Latent(recorded("latent_flip").flip(3))


@pytest.fixture(scope="module")
def second() -> Latent:
    """The encoded photo of 128x128, as it was fitted to the first when both were put into a batch."""
    return Latent(recorded("latent_batch")[1:])


def test_the_batch_begins_with_the_first(first: Latent) -> None:
    assert torch.equal(recorded("latent_batch")[:1], first.samples)


def test_recorded_latents_of_one(first: Latent, tmp_path: Path) -> None:
    here = context(tmp_path)
    for name, made in (
        ("latent_flip", latents.flip_latent(here, first, "y-axis: horizontally")),
        ("latent_rotate", latents.rotate_latent(here, first, "90 degrees")),
        ("latent_multiply", latents.multiply_latent(here, first, -1.3)),
        ("latent_crop", latents.crop_latent(here, first, 96, 64, 40, 24)),
    ):
        assert torch.equal(made.samples, recorded(name)), name


def test_recorded_latents_of_two(first: Latent, second: Latent, tmp_path: Path) -> None:
    here = context(tmp_path)
    for name, made in (
        ("latent_batch", latents.batch_latents(here, first, second)),
        ("latent_subtract", latents.subtract_latents(here, first, second)),
        ("latent_interpolate", latents.interpolate_latents(here, first, second, 0.4)),
    ):
        assert torch.allclose(made.samples, recorded(name), atol=1e-6), name


def test_a_composite_is_the_first_where_nothing_was_laid(first: Latent, tmp_path: Path) -> None:
    """The second, 16x16 units, was laid at (6, 2): it reaches out over the lower edge."""
    here, seen = context(tmp_path), recorded("latent_composite")
    laid = Latent(torch.full((1, 4, 16, 16), 7.0))
    made = latents.composite_latents(here, first, laid, 48, 16, 0).samples
    covered = made == 7.0
    assert covered.sum() == 4 * 14 * 16
    assert torch.equal(made[~covered], seen[~covered])
    assert not torch.isclose(seen[covered], first.samples[covered]).any()
