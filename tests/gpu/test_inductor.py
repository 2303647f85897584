"""Inductor engines against eager float32 on the same GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.synthetic import narrow_unet
from graphs.errors import PlanError, RunError
from runtime.backends.backend import EngineSpec, LoadSpec, Module
from runtime.backends.eager import EagerBackend
from runtime.backends.inductor import InductorBackend
from runtime.network_weights import NetworkWeights
from tests.gpu.saved_networks import example, saved

pytestmark = pytest.mark.gpu
SIZES = {"batch": 2, "height": 16, "width": 24, "text": 77}
PROFILE = {"batch": (1, 2, 2), "height": (16, 16, 16), "width": (24, 24, 24), "text": (77, 77, 77)}


def loaded(backend: EagerBackend | InductorBackend, precision: str, folder: Path, seed: int = 0) -> Module:
    model = saved("unet_core", narrow_unet(64), precision, folder / f"{precision}-{seed}.safetensors", seed)
    engine = folder / f"{backend.name}-{precision}.engine"
    engine.write_bytes(backend.build(model, EngineSpec(precision, "cuda", PROFILE)))
    return backend.load(engine, NetworkWeights.of(*model.weights), LoadSpec("cuda"))


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got.float() - wanted.float()).norm() / wanted.float().norm())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def module(folder: Path) -> Module:
    return loaded(InductorBackend(), "fp16", folder)


def test_gives_the_values_of_eager_float32(folder: Path, module: Module) -> None:
    reference = loaded(EagerBackend(), "fp32", folder)
    given = example(saved("unet_core", narrow_unet(64), "fp32", folder / "x.safetensors").inputs, SIZES)
    assert relative(module(given)["eps"], reference(given)["eps"]) < 0.01


def test_pads_one_row_and_splits_three(folder: Path, module: Module) -> None:
    inputs = saved("unet_core", narrow_unet(64), "fp32", folder / "x.safetensors").inputs
    given = example(inputs, {**SIZES, "batch": 3})
    whole = module(given)["eps"].clone()
    for row in range(3):
        one = module({name: tensor[row : row + 1] for name, tensor in given.items()})["eps"]
        assert relative(one, whole[row : row + 1]) < 0.005


def test_refuses_another_size_and_says_which_there_are(folder: Path, module: Module) -> None:
    inputs = saved("unet_core", narrow_unet(64), "fp32", folder / "x.safetensors").inputs
    with pytest.raises(RunError, match="not compiled for this size") as caught:
        module(example(inputs, {**SIZES, "width": 32}))
    assert "(2, 4, 16, 24)" in str(caught.value)


def test_another_checkpoint_is_a_copy_into_the_same_engine(folder: Path, module: Module) -> None:
    other = saved("unet_core", narrow_unet(64), "fp16", folder / "other.safetensors", seed=1)
    given = example(other.inputs, SIZES)
    before = module(given)["eps"].clone()
    kept = load_file(folder / "fp16-0.safetensors")
    try:
        module.set_weights(load_file(other.weights[0]))
        changed = module(given)["eps"].clone()
        reference = loaded(EagerBackend(), "fp32", folder, seed=1)
        assert relative(changed, reference(given)["eps"]) < 0.01 < relative(changed, before)
    finally:
        module.set_weights(kept)
    assert torch.equal(module(given)["eps"], before)


def test_refuses_a_weight_of_another_shape_before_anything_is_copied(folder: Path, module: Module) -> None:
    given = example(saved("unet_core", narrow_unet(64), "fp32", folder / "x.safetensors").inputs, SIZES)
    before = module(given)["eps"].clone()
    with pytest.raises(PlanError, match="another than the engine wants"):
        module.set_weights({"out.2.weight": torch.zeros(4, 64, 1, 1, dtype=torch.float16)})
    assert torch.equal(module(given)["eps"], before)
