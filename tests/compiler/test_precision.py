"""Networks rewritten to 16-bit types give float32's values up to the type's rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.synthetic import NARROW_VAE, narrow_unet
from compiler.exporting.precision import in_precision
from runtime.backends.backend import EngineSpec, LoadSpec
from runtime.backends.eager import EagerBackend
from runtime.network_weights import NetworkWeights
from tests.gpu.saved_networks import example, saved
from tests.shared_exports import traced

SIZES = {"batch": 2, "height": 8, "width": 8, "text": 77, "steps": 3}
NETWORK_KINDS = {"unet_time": narrow_unet(32), "vae_decoder": NARROW_VAE}


@pytest.mark.parametrize("kind", NETWORK_KINDS)
@pytest.mark.parametrize(("precision", "bound"), [("fp16", 0.01), ("bf16", 0.06)])
def test_values_are_those_of_float32(kind: str, precision: str, bound: float, tmp_path: Path) -> None:
    results = {}
    for wanted in ("fp32", precision):
        model = saved(kind, NETWORK_KINDS[kind], wanted, tmp_path / f"{wanted}.safetensors")
        engine = tmp_path / wanted
        engine.write_bytes(EagerBackend().build(model, EngineSpec(wanted, "cpu")))
        module = EagerBackend().load(engine, NetworkWeights.of(*model.weights), LoadSpec())
        (results[wanted],) = module(example(model.inputs, SIZES)).values()
    assert results[precision].dtype == torch.float32
    difference = (results[precision] - results["fp32"]).norm() / results["fp32"].norm()
    assert 0 < difference < bound


def test_the_sinusoid_stays_float32_until_it_meets_a_weight() -> None:
    program = in_precision(traced("unet_time", narrow_unet(32)), "fp16")
    dtypes = {str(n.target): n.meta["val"].dtype for n in program.graph.nodes if n.op == "call_function"}
    assert dtypes["aten.cos.default"] == torch.float32
    assert dtypes["aten.linear.default"] == torch.float16


def test_eight_bit_pictures_are_scaled_in_float32() -> None:
    program = in_precision(traced("vae_decoder_u8", NARROW_VAE), "bf16")
    (scaled,) = (n for n in program.graph.nodes if n.op == "call_function" and 255.0 in n.args)
    assert scaled.meta["val"].dtype == torch.float32
