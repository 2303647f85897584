"""The real TensorRT-RTX parser and compiler take every network, with dynamic batch, size and text length.

Narrow networks with drawn weights; the full widths are `make gpu-build-check`. Nothing here needs a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks.synthetic import NARROW_CLIP, NARROW_CLIP_G, NARROW_VAE, narrow_sdxl
from compiler.exporting.export import Exported, emit
from compiler.linking.engine_sizes import network_profile
from compiler.linking.weights import materialise
from compiler.models.weights_tree import Layer
from compiler.networks import NETWORKS, ControlNetConfig
from compiler.networks.network import Config
from compiler.networks.unet_config import UNetConfig
from graphs.plan import Profile
from runtime.artifacts import StoreArtifacts
from runtime.backends.backend import EngineSpec, NetworkModel
from runtime.backends.build_process import Built
from runtime.backends.tensorrt import TensorRtBackend
from runtime.store import Store
from tests.runtime.tensorrt_here import needs_tensorrt
from tests.shared_exports import traced
from tests.small_unet import SMALL

TARGETS = ("sm89", "sm120")
SIZES = Profile(batch=(1, 4), height=(64, 1024), width=(128, 1024), text=(77, 231))
# Two heads in place of eight: at this width every head has then the 16 channels or more that fused kernels want.
UNET = replace(SMALL, depths=(1, 1, 0), heads=2)
CONFIGS: dict[str, Config] = {
    "unet": UNET,
    "controlnet": ControlNetConfig(UNET),
    "vae": NARROW_VAE,
    "clip_l": NARROW_CLIP,
    "clip_g": replace(NARROW_CLIP_G, stop_layer=-2, norm=False),
    "clip_h": replace(NARROW_CLIP_G, stop_layer=-2),
}
XL: UNetConfig = narrow_sdxl()["unet"]
XL_CONFIGS: dict[str, Config] = {"unet": XL, "controlnet": ControlNetConfig(XL)}
XL_KINDS = tuple(kind for kind in NETWORKS if NETWORKS[kind].part in XL_CONFIGS)


def build(
    kind: str, folder: Path, precision: str = "fp16", configs: Mapping[str, Config] = CONFIGS
) -> tuple[Built, Exported]:
    definition = NETWORKS[kind]
    config = configs[definition.part]
    with torch.device("meta"):
        module = definition.module(config)
    inputs, outputs = definition.inputs(config), definition.outputs(config)
    exported = emit(traced(kind, config), "onnx-trt", inputs, outputs, precision)
    random = torch.Generator().manual_seed(0)
    tensors: dict[str, Callable[[], torch.Tensor]] = {
        key: partial(torch.randn, *tensor.shape, generator=random) for key, tensor in module.state_dict().items()
    }
    store = Store(folder)
    weights = materialise(exported.initializers, [Layer(tensors, kind)], store)
    paths = StoreArtifacts(store).weights(weights).files()
    spec = EngineSpec(precision, "cuda", network_profile(definition, config, SIZES), TARGETS)
    return TensorRtBackend().built(NetworkModel(kind, exported.graph, inputs, outputs, paths), spec), exported


@needs_tensorrt
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_is_built_with_dynamic_sizes(kind: str, tmp_path: Path) -> None:
    built, exported = build(kind, tmp_path)
    weights = sum(math.prod(i.shape) * 2 for i in exported.initializers)
    assert built.engine.nbytes > weights  # they are inside
    assert built.activation_bytes is not None
    if kind in ("unet", "unet_core"):
        # The scores of one attention of the finest level: cond and uncond of four pictures, two heads, float16.
        scores = 2 * SIZES.batch[1] * 2 * (SIZES.height[1] // 8 * SIZES.width[1] // 8) ** 2 * 2
        # 158 MB were measured; with eight heads of four channels, for which there is no fused kernel, 4380 MB.
        assert built.activation_bytes < scores / 16, "attention is not fused"


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_tensorrt
@pytest.mark.parametrize("kind", XL_KINDS)
def test_networks_with_a_vector_condition_are_built_too(kind: str, tmp_path: Path) -> None:
    built, exported = build(kind, tmp_path, configs=XL_CONFIGS)
    assert built.engine.nbytes > sum(math.prod(i.shape) * 2 for i in exported.initializers)


@needs_tensorrt
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["unet_time", "unet_context", "vae_encoder", "clip_l"])
def test_other_precisions(kind: str, precision: str, tmp_path: Path) -> None:
    built, _ = build(kind, tmp_path, precision)
    assert built.engine.nbytes > 0
