"""Merged weights against the formulas of their kinds, file on file, at strengths that are not 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from benchmarks.synthetic import write_checkpoint
from compiler.models.weights_tree import merged, weights_hash
from compiler.passes.share_networks import without_idle_loras
from graphs.errors import CheckpointError
from graphs.values import Lora, Merge, ModelFile, Weights
from tests.compiler.eager_networks import by_path, recipe_of

MODULE = "middle_block.1.transformer_blocks.0.attn1.to_q"
KEY, ALIAS = f"{MODULE}.weight", "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
WIDTH, RANK = 128, 4  # of the narrow U-Net's middle
STRENGTHS = (0.5, -1.0, 1.7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("weights")
    write_checkpoint(found / "base.safetensors", parts=("unet",), seed=1)
    write_checkpoint(found / "other.safetensors", parts=("unet",), seed=2)
    return found


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def adapter(kind: str) -> tuple[Mapping[str, Tensor], Callable[[Tensor], Tensor]]:
    """The tensors of a file of that kind, and its change of a weight (out, in) at strength 1 as the papers write it."""
    up, down = drawn(1, WIDTH, RANK), drawn(2, RANK, WIDTH)
    low_rank = up @ down / 2  # alpha is half the rank
    base = {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(RANK / 2)}
    if kind == "lora":
        return base, lambda weight: low_rank
    if kind == "dora_out":
        scale = drawn(3, WIDTH, 1).abs() + 0.5
        return {**base, "dora_scale": scale}, lambda w: (w + low_rank) * scale / w.norm(dim=1, keepdim=True) - w
    if kind == "dora_in":
        scale = drawn(3, 1, WIDTH).abs() + 0.5
        return (
            {**base, "dora_scale": scale},
            lambda w: (w + low_rank) * scale / (w + low_rank).norm(dim=0, keepdim=True) - w,
        )
    if kind == "glora":
        a1, a2, b1, b2 = drawn(4, WIDTH, RANK), drawn(5, RANK, WIDTH), drawn(6, WIDTH, RANK), drawn(7, RANK, WIDTH)
        tensors = {"a1.weight": a1, "a2.weight": a2, "b1.weight": b1, "b2.weight": b2}
        return tensors, lambda w: w @ a1 @ a2 + b1 @ b2
    assert kind == "oft"
    blocks = drawn(8, 8, WIDTH // 8, WIDTH // 8)
    skew = blocks - blocks.transpose(1, 2)
    one = torch.eye(WIDTH // 8)
    turned = [(one + q) @ torch.linalg.inv(one - q) for q in skew]
    turn = torch.block_diag(*turned)  # type: ignore[no-untyped-call]
    return {"oft_blocks": blocks}, lambda w: turn.T @ w - w


KINDS = ("lora", "dora_out", "dora_in", "glora", "oft")


def write_adapter(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.safetensors"
    save_file({f"{ALIAS}.{name}": tensor.numpy() for name, tensor in adapter(kind)[0].items()}, path)
    return path


def weight_of(weights: Weights, key: str = KEY) -> Tensor:
    return merged(weights, "unet", by_path)[key]().to(torch.float32)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_file_is_merged_as_its_paper_says(folder: Path, kind: str, strength: float) -> None:
    base = folder / "base.safetensors"
    before, change = weight_of(recipe_of(base)), adapter(kind)[1]
    after = weight_of(recipe_of(base, (write_adapter(folder, kind), strength)))
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, before + strength * change(before), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_file_twice_is_merged_twice(folder: Path, kind: str) -> None:
    """What the passes leave of the tree is what is merged: a kind that depends on the weights sees those it made."""
    base, file = folder / "base.safetensors", write_adapter(folder, kind)
    twice = without_idle_loras(recipe_of(base, (file, 0.5), (file, 0.5)))
    change, first = adapter(kind)[1], weight_of(recipe_of(base))
    second = first + 0.5 * change(first)
    expected = second + 0.5 * change(second)
    torch.testing.assert_close(weight_of(twice), expected, rtol=1e-5, atol=1e-5)
    if kind not in ("lora",):
        assert (weight_of(twice) - weight_of(recipe_of(base, (file, 1.0)))).std() > 1e-3


def test_order_counts(folder: Path) -> None:
    base, first, second = folder / "base.safetensors", write_adapter(folder, "lora"), write_adapter(folder, "dora_out")
    one, other = recipe_of(base, (first, 1.0), (second, 1.0)), recipe_of(base, (second, 1.0), (first, 1.0))
    assert (weight_of(one) - weight_of(other)).std() > 1e-3
    assert weights_hash(one, by_path) != weights_hash(other, by_path)


def test_a_merge_takes_the_share_of_the_longest_prefix(folder: Path) -> None:
    a, b = (ModelFile("checkpoints", str(folder / f"{name}.safetensors")) for name in ("base", "other"))
    mix = Merge(a, b, (("", 0.25, 0.75), ("middle_block.", 1.0, -1.0), ("out.", 1.0, 0.0)))
    for key, of_a, of_b in (("input_blocks.0.0.weight", 0.25, 0.75), (KEY, 1.0, -1.0), ("out.2.weight", 1.0, 0.0)):
        torch.testing.assert_close(weight_of(mix, key), of_a * weight_of(a, key) + of_b * weight_of(b, key))
    assert weights_hash(mix, by_path) != weights_hash(Merge(b, a, mix.shares), by_path)


def test_a_lora_on_a_merge_and_a_merge_of_loras(folder: Path) -> None:
    a, b = (ModelFile("checkpoints", str(folder / f"{name}.safetensors")) for name in ("base", "other"))
    file = ModelFile("loras", str(write_adapter(folder, "dora_out")))
    half = (("", 0.5, 0.5),)
    change = adapter("dora_out")[1]
    mixed = 0.5 * weight_of(a) + 0.5 * weight_of(b)
    torch.testing.assert_close(weight_of(Lora(Merge(a, b, half), file, 1.0)), mixed + change(mixed))
    changed = weight_of(a) + change(weight_of(a))
    torch.testing.assert_close(weight_of(Merge(Lora(a, file, 1.0), b, half)), 0.5 * changed + 0.5 * weight_of(b))


def test_models_of_two_kinds_do_not_merge(folder: Path) -> None:
    save_file({"input_blocks.0.0.weight": np.zeros((32, 4, 3, 3), np.float32)}, folder / "stump.safetensors")
    a, stump = (ModelFile("checkpoints", str(folder / f"{name}.safetensors")) for name in ("base", "stump"))
    with pytest.raises(CheckpointError, match="two models do not merge"):
        merged(Merge(a, stump, (("", 0.5, 0.5),)), "unet", by_path)
