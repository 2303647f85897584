"""How files called LoRA write their adapters: endings of keys, early layouts, modules that are not whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from benchmarks.synthetic import write_checkpoint
from graphs.errors import CheckpointError
from tests.compiler.eager_networks import recipe_of
from tests.compiler.test_weights_tree import ALIAS, MODULE, RANK, WIDTH, drawn, weight_of

UP, DOWN = drawn(1, WIDTH, RANK), drawn(2, RANK, WIDTH)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    write_checkpoint(path, parts=("unet",), seed=1)
    return path


def merged_with(base: Path, folder: Path, tensors: Mapping[str, Tensor], strength: float = 1.0) -> Tensor:
    file = folder / "lora.safetensors"
    save_file({key: tensor.contiguous().numpy() for key, tensor in tensors.items()}, file)
    return weight_of(recipe_of(base, (file, strength)))


@pytest.mark.parametrize(
    ("module", "up", "down"),
    [
        (ALIAS, ".lora_up.weight", ".lora_down.weight"),
        (ALIAS, "_lora.up.weight", "_lora.down.weight"),
        (ALIAS, ".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
        (f"diffusion_model.{MODULE}", ".lora_B.weight", ".lora_A.weight"),
        (f"diffusion_model.{MODULE}", ".lora_B.default.weight", ".lora_A.default.weight"),
        (f"diffusion_model.{MODULE}", ".lora_B", ".lora_A"),
        (f"diffusion_model.{MODULE}", ".lora.up.weight", ".lora.down.weight"),
    ],
)
def test_every_ending_of_a_low_rank_pair(base: Path, tmp_path: Path, module: str, up: str, down: str) -> None:
    found = merged_with(base, tmp_path, {module + up: UP, module + down: DOWN}, 0.5)
    torch.testing.assert_close(found, weight_of(recipe_of(base)) + 0.5 * UP @ DOWN, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_weight_that_is_set_is_the_file_s_at_any_strength(base: Path, tmp_path: Path, strength: float) -> None:
    target = drawn(3, WIDTH, WIDTH)
    pair = {f"{ALIAS}.lora_up.weight": UP, f"{ALIAS}.lora_down.weight": DOWN}
    found = merged_with(base, tmp_path, {f"{ALIAS}.set_weight": target, **pair}, strength)
    torch.testing.assert_close(found, target, rtol=1e-5, atol=1e-5)


def test_of_two_adapters_in_one_module_the_full_difference_counts(base: Path, tmp_path: Path) -> None:
    difference = drawn(3, WIDTH, WIDTH)
    pair = {f"{ALIAS}.lora_up.weight": UP, f"{ALIAS}.lora_down.weight": DOWN}
    found = merged_with(base, tmp_path, {f"{ALIAS}.diff": difference, **pair})
    torch.testing.assert_close(found, weight_of(recipe_of(base)) + difference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("rank", [RANK, WIDTH // 2])
def test_both_layouts_of_glora_on_a_square_weight(base: Path, tmp_path: Path, early: bool, rank: int) -> None:
    """Every product of early factors is possible on a square weight: only the sides that meet it tell."""
    into, out, alpha = drawn(4, WIDTH, rank), drawn(5, rank, WIDTH), 2.0
    wide, narrow = drawn(6, WIDTH, rank), drawn(7, rank, WIDTH)
    names = ("a2", "a1", "b2", "b1") if early else ("a1", "a2", "b1", "b2")
    tensors = {f"{ALIAS}.{n}.weight": t for n, t in zip(names, (into, out, wide, narrow), strict=True)}
    found = merged_with(base, tmp_path, {**tensors, f"{ALIAS}.alpha": torch.tensor(alpha)}, 0.8)
    before = weight_of(recipe_of(base))
    expected = before + 0.8 * (alpha / rank) * (before @ into @ out + wide @ narrow)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("left", [("alpha",), ("lora_down.weight",), ("lora_down.weight", "alpha"), ("dora_scale",)])
def test_what_is_no_adapter_is_left_out_and_said(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, left: tuple[str, ...]
) -> None:
    tensors = {"alpha": torch.tensor(1.0), "lora_down.weight": DOWN, "dora_scale": torch.ones(WIDTH, 1)}
    with caplog.at_level(logging.WARNING):
        found = merged_with(base, tmp_path, {f"{ALIAS}.{name}": tensors[name] for name in left})
    assert torch.equal(found, weight_of(recipe_of(base)))
    (said,) = [r.getMessage() for r in caplog.records if "no whole adapter" in r.getMessage()]
    assert ALIAS in said


@pytest.mark.parametrize("left", ["lora_up.weight", "hada_w1_a", "lokr_w1", "a1.weight"])
def test_half_of_an_adapter_is_refused(base: Path, tmp_path: Path, left: str) -> None:
    with pytest.raises(CheckpointError, match="half of an adapter is missing"):
        merged_with(base, tmp_path, {f"{ALIAS}.{left}": UP})


@pytest.mark.parametrize(
    ("up", "down", "alpha"),
    [((), (), ()), ((WIDTH,), (WIDTH,), ()), ((WIDTH, RANK), (RANK, WIDTH), (2,)), ((WIDTH, 0), (0, WIDTH), ())],
)
def test_tensors_of_odd_shapes_are_refused(
    base: Path, tmp_path: Path, up: tuple[int, ...], down: tuple[int, ...], alpha: tuple[int, ...]
) -> None:
    tensors = {"lora_up.weight": torch.ones(up), "lora_down.weight": torch.ones(down), "alpha": torch.ones(alpha)}
    with pytest.raises(CheckpointError, match="does not fit the checkpoint"):
        merged_with(base, tmp_path, {f"{ALIAS}.{name}": tensor for name, tensor in tensors.items()})


def test_a_kronecker_product_with_a_core_is_left_out_as_in_comfyui_and_said(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Recorded: ComfyUI fails to multiply these out and goes on. Without the core the same factors count."""
    half = WIDTH // 2
    factors = {"lokr_w1": drawn(1, 2, 2), "lokr_w2_a": drawn(2, RANK, half), "lokr_w2_b": drawn(3, RANK, half)}
    core = {"lokr_t2": drawn(4, RANK, RANK, 1, 1)}
    with caplog.at_level(logging.WARNING):
        found = merged_with(base, tmp_path, {f"{ALIAS}.{name}": tensor for name, tensor in (factors | core).items()})
    assert torch.equal(found, weight_of(recipe_of(base)))
    (said,) = [r.getMessage() for r in caplog.records if "ComfyUI fails to multiply" in r.getMessage()]
    assert ALIAS in said
    flat = factors | {"lokr_w2_a": factors["lokr_w2_a"].t()}
    found = merged_with(base, tmp_path, {f"{ALIAS}.{name}": tensor for name, tensor in flat.items()})
    wanted = torch.kron(factors["lokr_w1"], factors["lokr_w2_a"].t() @ factors["lokr_w2_b"])
    torch.testing.assert_close(found, weight_of(recipe_of(base)) + wanted, rtol=1e-4, atol=1e-4)
