"""Every network, exported, next to its torch module in float32: the numbers have to agree, at sizes never traced.

onnxruntime runs all three dialects. In float32 they may differ from torch by rounding alone. The dialect of TensorRT
is run in float16 too, which is what its engines are built from: the bounds are those of 16-bit arithmetic.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.synthetic import (
    narrow_sdxl,
    write_checkpoint,
    write_controlnet,
    write_sd2,
    write_sdxl,
)
from compiler.exporting.export import emit, trace
from compiler.linking.weights import materialise
from compiler.models.weights_tree import Layer, merged
from compiler.networks import NETWORKS
from compiler.networks.text import END_TOKEN
from graphs.dims import size_of
from runtime.artifacts import StoreArtifacts
from runtime.backends.backend import LoadSpec, TensorSpec
from runtime.backends.onnxruntime import OnnxRuntimeBackend
from runtime.store import Store
from tests.compiler.eager_networks import architecture_of, by_path, load_network, recipe_of
from tests.small_unet import UNEVEN

# Dynamic sizes that differ from the traced ones, and from each other in what they divide by. Tracing took every count
# for 2 or more and every side for 32 or more, so 1 and sides of 5 would show an assumption that slipped in.
SIZES = (
    {"batch": 3, "height": 9, "width": 14, "text": 154, "steps": 7},
    {"batch": 1, "height": 16, "width": 5, "text": 77, "steps": 1},
)
# Measured: at most 1.5e-6 in float32 and 1e-3 in float16.
CASES = (("onnx", "fp32", 5e-6), ("onnx-ort", "fp32", 5e-6), ("onnx-trt", "fp32", 5e-6), ("onnx-trt", "fp16", 3e-3))


@dataclass(frozen=True)
class Subject:
    """One network at narrow width: the torch module with its weights, and the traced program."""

    kind: str
    module: nn.Module
    program: torch.export.ExportedProgram
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Bench:
    """file: what a network of a case is read from."""

    file: Callable[[str], Path]
    store: Store
    subject: Callable[[str], Subject]


# Every kind of network of Stable Diffusion 1; "sdxl:" those that a vector condition or another encoder changes.
SUBJECTS = (
    *(kind for kind in NETWORKS if kind not in ("clip_g", "clip_h")),
    *(f"sdxl:{kind}" for kind in ("unet", "unet_time", "unet_core", "unet_core_control", "controlnet",
                                  "controlnet_time", "clip_l", "clip_g")),
    "sd2:clip_h",
)  # fmt: skip
OPTIONS = {"sdxl:clip_l": {"stop_layer": -2, "norm": False}, "sdxl:clip_g": {"stop_layer": -2, "norm": False}}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("export")
    write_checkpoint(folder / "sd15.safetensors", unet=UNEVEN)
    write_controlnet(folder / "sd15-control.safetensors", unet=UNEVEN)
    write_sdxl(folder / "sdxl.safetensors")
    write_controlnet(folder / "sdxl-control.safetensors", unet=narrow_sdxl()["unet"])
    write_sd2(folder / "sd2.safetensors")

    def file(name: str) -> Path:
        family, _, kind = name.rpartition(":")
        control = "-control" if NETWORKS[kind].part == "controlnet" else ""
        return folder / f"{family or 'sd15'}{control}.safetensors"

    @functools.cache
    def subject(name: str) -> Subject:
        kind, options = name.rpartition(":")[2], OPTIONS.get(name, {})
        module = load_network(kind, recipe_of(file(name)), **options)
        config = NETWORKS[kind].configure(architecture_of(kind, file(name)).parts, options)
        inputs, outputs = NETWORKS[kind].inputs(config), NETWORKS[kind].outputs(config)
        return Subject(kind, module, trace(module, inputs), inputs, outputs)

    yield Bench(file, Store(folder / "store"), subject)
    subject.cache_clear()


@pytest.mark.parametrize(("form", "precision", "bound"), CASES, ids=[f"{f}-{p}" for f, p, _ in CASES])
@pytest.mark.parametrize("name", SUBJECTS)
def test_an_exported_network_computes_what_torch_computes(
    name: str, form: str, precision: str, bound: float, bench: Bench
) -> None:
    subject = bench.subject(name)
    exported = emit(subject.program, form, subject.inputs, subject.outputs, precision)
    part = NETWORKS[subject.kind].part
    tensors = merged(recipe_of(bench.file(name)), part, by_path)
    weights = materialise(exported.initializers, [Layer(tensors, str(bench.file(name)) + part)], bench.store)
    opened = StoreArtifacts(bench.store).weights(weights)
    key = re.sub("[:_]", "-", f"graph-{name}-{form}-{precision}")
    graph = bench.store.put(key, exported.graph).path
    engine = OnnxRuntimeBackend().load(graph, opened, LoadSpec())
    for sizes in SIZES:
        given = {spec.name: example(spec, sizes) for spec in subject.inputs}
        with torch.no_grad():
            expected = subject.module(*given.values())
        expected = expected if isinstance(expected, tuple | list) else (expected,)
        got = engine(given)
        for spec, value in zip(subject.outputs, expected, strict=True):
            compare(got[spec.name], value, bound, f"{name} {form} {precision} {spec.name} at {sizes}")
    engine.close()


def compare(got: Tensor, expected: Tensor, bound: float, what: str) -> None:
    """bound: of the largest difference, relative to the largest value. 8-bit pictures: at most one step (16-bit: 3)."""
    assert got.shape == expected.shape, what
    assert got.dtype == expected.dtype, what
    difference = (got.double() - expected.double()).abs()
    largest, scale = float(difference.max()), float(expected.double().abs().max())
    assert scale > 0, f"{what}: the reference is all zeros and shows nothing"
    if expected.dtype == torch.uint8:
        assert largest <= (1 if bound < 1e-3 else 3), f"{what}: off by {largest:.0f} of 255"
        return
    relative = largest / scale
    print(f"{what}: max abs {largest:.2e}, relative {relative:.2e}")
    assert relative <= bound, f"{what}: max abs error {largest:.3e}, relative {relative:.3e}, bound {bound:.0e}"


def example(spec: TensorSpec, sizes: dict[str, int]) -> Tensor:
    """A tensor such as the network meets: latents and contexts normal, pictures in [0, 1], texts of real tokens."""
    shape = [size_of(d, sizes) for d in spec.shape]
    random = torch.Generator().manual_seed(len(spec.name) + sum(shape))
    if spec.name == "tokens":
        tokens = torch.randint(0, END_TOKEN, shape, generator=random)
        tokens[:, shape[1] // 2 :] = END_TOKEN
        return tokens
    if spec.name == "override_mask":
        return (torch.rand(shape, generator=random) < 0.1).float()
    if spec.name == "timesteps":
        return torch.rand(shape, generator=random) * 999
    if spec.name in ("image", "hint_image"):
        return torch.rand(shape, generator=random)
    return torch.randn(shape, generator=random)
