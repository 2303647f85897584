"""Factors multiplied out on the GPU: the weights that the CPU makes of them, but for the last bits."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks.synthetic import narrow_unet
from runtime.adapters import Adapter
from runtime.backends.backend import EngineSpec, LoadSpec
from runtime.backends.eager import EagerBackend
from runtime.backends.inductor import InductorBackend
from runtime.factors import Factors, write_factors
from runtime.mapped import map_layers
from runtime.network_weights import LayerFile, NetworkWeights
from runtime.scratch import make_scratch
from tests.compiler.adapter_files import Draw, adapter, kinds_for
from tests.gpu.saved_networks import example, saved
from tests.gpu.test_inductor import PROFILE, SIZES, relative

pytestmark = pytest.mark.gpu
ROLES = {"lora_up.weight": "up", "lora_down.weight": "down", "lora_mid.weight": "mid"}


def role(ending: str) -> str:
    name = ending.removesuffix(".weight")
    return ROLES.get(ending) or (f"glora_{name}" if name in ("a1", "a2", "b1", "b2") else ending)


def mixed(folder: Path, base: Path, strength: float) -> NetworkWeights:
    """Every third matrix and convolution of the base with an adapter, of each kind in turn."""
    factors, draw = [], Draw(torch.Generator().manual_seed(3))
    for number, (name, weight) in enumerate(map_layers([base]).items()):
        shape = tuple(weight.shape)
        if number % 3 or len(shape) < 2 or min(shape[:2]) < 8:
            continue
        kinds = [kind for kind in kinds_for(shape) if kind not in ("diff", "set_weight")]
        parts = adapter(kinds[number // 3 % len(kinds)], shape, 4, draw)
        factors.append(Factors(name, False, Adapter({role(e): 0.1 * p if "a" in e else p for e, p in parts.items()})))
    with (folder / "factors").open("wb") as file:
        write_factors(factors, file.write)
    layers = [LayerFile(base), LayerFile(folder / "factors", strength)]
    return NetworkWeights(layers, partial(make_scratch, folder / "store"))


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("fp16", 1e-3)])
def test_every_kind_on_the_gpu_is_as_on_the_cpu(precision: str, bound: float, tmp_path: Path) -> None:
    base = saved("unet_core", narrow_unet(64), precision, tmp_path / "base").weights[0]
    weights = mixed(tmp_path, base, 0.8)
    found = weights.tensors("cuda")
    assert len(weights.changed) > 40
    for name in weights.changed:
        there, here = found[name], weights.multiplied(name)
        assert here is not None
        assert (there.device.type, there.dtype) == ("cuda", here.dtype)
        assert relative(there.cpu(), here) < bound, name


@pytest.mark.parametrize("backend", [EagerBackend(), InductorBackend()])
def test_an_engine_takes_a_mix_at_once_and_in_a_switch(
    backend: EagerBackend | InductorBackend, tmp_path: Path
) -> None:
    model = saved("unet_core", narrow_unet(64), "fp16", tmp_path / "base")
    engine = tmp_path / "engine"
    engine.write_bytes(backend.build(model, EngineSpec("fp16", "cuda", PROFILE)))
    weights, given = mixed(tmp_path, model.weights[0], 0.8), example(model.inputs, SIZES)
    whole = backend.load(engine, NetworkWeights.of(*weights.files()), LoadSpec("cuda"))(given)["eps"].clone()
    plain = NetworkWeights.of(*model.weights)
    module = backend.load(engine, plain, LoadSpec("cuda"))
    before = module(given)["eps"].clone()
    loaded = backend.load(engine, weights, LoadSpec("cuda"))(given)["eps"]
    assert relative(loaded, whole) < 0.01 < relative(before, whole)
    mix, base = weights.tensors("cuda"), plain.tensors("cuda")
    module.set_weights({name: mix[name] for name in weights.changed})
    assert relative(module(given)["eps"], whole) < 0.01
    module.set_weights({name: base[name] for name in weights.changed})
    assert torch.equal(module(given)["eps"], before)
