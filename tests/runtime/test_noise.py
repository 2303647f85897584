"""Noise equals the recorded one, bit for bit (sha256 of the float32 bytes)."""

from __future__ import annotations

import ast
import hashlib
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.errors import RunError
from runtime.sampling.brownian import BrownianPath, brownian_noise
from runtime.sampling.noise import independent_noise, initial_noise, step_seed
from tests.runtime.sampling_fixtures import table

INITIAL, IN_LOOP = table("noise_cpu"), table("sampler_noise")
LIKE = torch.zeros(1, 4, 8, 8)


def sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("key", list(INITIAL))
def test_initial_noise_is_exact(key: str) -> None:
    seed, *index, shape = key.split("/")
    batch_index = ast.literal_eval(index[0].removeprefix("batch_index")) if index else None
    noise = initial_noise(ast.literal_eval(shape), int(seed), batch_index)
    assert sha256(noise) == INITIAL[key]["sha256_f32"]


@pytest.mark.parametrize("key", [k for k in IN_LOOP if k.startswith("default")])
def test_independent_noise_is_exact(key: str) -> None:
    draw = independent_noise(LIKE, int(key.split("/")[1]))
    assert [sha256(draw(torch.ones(()), torch.ones(()))) for _ in IN_LOOP[key]] == [n["sha256"] for n in IN_LOOP[key]]


@pytest.mark.parametrize("key", [k for k in IN_LOOP if k.startswith("brownian")])
def test_brownian_noise_is_exact(key: str) -> None:
    _, transform, seed, _ = key.split("/")
    sigmas = torch.tensor(IN_LOOP[key]["sigmas"])
    draw = brownian_noise(LIKE, sigmas, int(seed), None if transform == "identity" else lambda s: s.log().neg())
    got = [sha256(draw(a, b)) for a, b in pairwise(sigmas[:-1])]
    assert got == [n["sha256"] for n in IN_LOOP[key]["noise"]]


def test_batch_index_picks_samples_of_the_larger_batch_drawn_one_by_one() -> None:
    whole = initial_noise((4, 4, 8, 8), 5, (0, 1, 2, 3))
    picked = initial_noise((3, 4, 8, 8), 5, (2, 0, 2))
    assert torch.equal(picked, whole[[2, 0, 2]])


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_outside_64_bits_are_refused(seed: int) -> None:
    with pytest.raises(RunError, match="seed out of range"):
        initial_noise((1, 4, 8, 8), seed)


def test_a_batch_index_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(RunError, match="batch_index"):
        initial_noise((2, 4, 8, 8), 0, (1,))


def test_the_seed_in_the_loop_follows_the_compat_setting() -> None:
    assert step_seed(42, "comfyui-0.3") == 42
    assert step_seed(42, "comfyui-0.8") == 43
    assert step_seed(2**64 - 1, "comfyui-0.8") == 0
    with pytest.raises(RunError, match="unknown compat"):
        step_seed(42, "comfyui-1")


points = st.floats(0.03, 14.6).map(lambda t: round(t, 6))


@settings(max_examples=30, deadline=None)
@given(st.lists(points, min_size=3, max_size=3, unique=True), st.integers(0, 2**32))
def test_increments_add_up(times: list[float], seed: int) -> None:
    a, b, c = sorted(times)
    path = BrownianPath((16,), 0.03, 14.6, seed)
    joined = path.increment(a, b) + path.increment(b, c)
    torch.testing.assert_close(joined, path.increment(a, c), rtol=0, atol=2e-5)


def test_increments_do_not_depend_on_earlier_queries() -> None:
    path, other = (BrownianPath((8,), 0.0, 10.0, 9) for _ in range(2))
    path.increment(1.234567, 8.7654321)
    assert torch.equal(path.increment(2.0, 3.3), other.increment(2.0, 3.3))


def test_increments_have_the_variance_of_their_length_and_no_correlation() -> None:
    path = BrownianPath((200_000,), 0.0, 10.0, 1)
    early, late = path.increment(0.7, 2.7), path.increment(2.7, 9.1)
    assert early.var().item() == pytest.approx(2.0, rel=0.02)
    assert late.var().item() == pytest.approx(6.4, rel=0.02)
    assert (early * late).mean().item() == pytest.approx(0.0, abs=0.03)


def test_a_backward_increment_is_refused() -> None:
    with pytest.raises(RunError, match="runs forward"):
        BrownianPath((1,), 0.0, 1.0, 0).increment(0.5, 0.2)
