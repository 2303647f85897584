"""ControlNets, and U-Nets that take their residuals, in every form that is built, against the torch modules in float32.

The latent's sides are no multiples of 8, so that halvings round up.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.synthetic import write_checkpoint, write_controlnet
from compiler.exporting.export import emit
from compiler.linking.link import Linker, Target
from compiler.networks import NETWORKS
from compiler.networks.controlnet import ControlNet, ControlNetConfig
from compiler.networks.unet import UNet, UNetControl
from compiler.networks.unet_config import residual_sizes
from graphs.dims import size_of
from graphs.plan import Profile
from graphs.program import NetworkUse
from graphs.values import ModelFile
from runtime.artifacts import StoreArtifacts
from runtime.backends import backend
from runtime.backends.backend import LoadSpec, Module, TensorSpec
from runtime.store import Store
from tests.compiler.eager_networks import EagerModule, by_path
from tests.shared_exports import traced
from tests.small_unet import UNEVEN

SIZES = {"batch": 3, "height": 9, "width": 14, "text": 5, "steps": 4}
CONTROL_KINDS = ("controlnet", "controlnet_core", "controlnet_time", "controlnet_context", "controlnet_hint")
UNET_KINDS = ("unet_control", "unet_core_control")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_checkpoint(folder / "sd.safetensors", unet=UNEVEN, parts=("unet",), dtype="float32")
    write_controlnet(folder / "control.safetensors", unet=UNEVEN, dtype="float32")
    return folder


def recipe(models: Path, kind: str) -> ModelFile:
    name = "control" if kind.startswith("controlnet") else "sd"
    return ModelFile("controlnet", str(models / f"{name}.safetensors"))


def values(specs: tuple[TensorSpec, ...], sizes: dict[str, int]) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(7)
    found = {s.name: torch.randn([size_of(d, sizes) for d in s.shape], generator=random) for s in specs}
    if "timesteps" in found:
        found["timesteps"] = torch.linspace(1, 981, len(found["timesteps"])).round()
    return found


def built(kind: str, models: Path, store: Store, name: str) -> tuple[Module, tuple[TensorSpec, ...]]:
    """The network through the compiler's own export and build."""
    use = NetworkUse("n", kind, recipe(models, kind))
    binding = Linker(Target(backend(name), "fp32", "cpu", Profile()), store, by_path).bind(use)
    artifacts = StoreArtifacts(store)
    engine, weights = artifacts.engine_path(binding.engine), artifacts.weights(binding.weights)
    module = backend(name).load(engine, weights, LoadSpec())
    return module, tuple(TensorSpec(n, dtype, shape) for n, (dtype, shape) in binding.engine.inputs.items())


@pytest.mark.parametrize(
    ("kind", "name"),
    [*((kind, "onnxruntime") for kind in (*CONTROL_KINDS, *UNET_KINDS)), ("controlnet_core", "eager"),
     ("unet_core_control", "eager")],
)  # fmt: skip
def test_built_networks_give_what_the_torch_module_gives(kind: str, name: str, models: Path, tmp_path: Path) -> None:
    module, specs = built(kind, models, Store(tmp_path), name)
    reference = EagerModule(kind, recipe(models, kind))
    for sizes in (SIZES, {**SIZES, "batch": 1, "height": 8, "width": 33, "text": 77}):
        inputs = values(specs, sizes)
        got, expected = module(inputs), reference(inputs)
        assert list(got) == list(expected)
        for output, tensor in expected.items():
            assert tensor.std() > 1e-3
            torch.testing.assert_close(got[output], tensor, rtol=1e-4, atol=1e-4)
    module.close()


def test_the_parts_give_what_the_whole_gives(models: Path) -> None:
    whole, core, time, text, hint = (
        EagerModule(kind, recipe(models, kind)).network
        for kind in ("controlnet", "controlnet_core", "controlnet_time", "controlnet_context", "controlnet_hint")
    )
    x, context, steps = torch.randn(2, 4, 9, 14), torch.randn(2, 5, 64), torch.tensor([3.0, 700.0])
    image = torch.rand(2, 72, 112, 3)
    all_in_one = ControlNet(ControlNetConfig(UNEVEN))
    all_in_one.load_state_dict({**whole.state_dict(), **hint.state_dict()})
    with torch.no_grad():
        embedded = hint(image)
        expected = all_in_one(x, image.permute(0, 3, 1, 2), steps, context)
        for found in (whole(x, embedded, steps, context), core(x, embedded, time(steps), text(context))):
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_residuals_enter_where_the_paper_has_them(models: Path) -> None:
    plain = EagerModule("unet", recipe(models, "unet")).network
    controlled = EagerModule("unet_control", recipe(models, "unet_control")).network
    assert isinstance(plain, UNet)
    assert isinstance(controlled, UNetControl)
    x, context, steps = torch.randn(1, 4, 9, 14), torch.randn(1, 5, 64), torch.tensor([500.0])
    zeros = [torch.zeros(1, c, -(-9 // 2**h), -(-14 // 2**h)) for c, h in residual_sizes(UNEVEN)]
    with torch.no_grad():
        nothing = plain(x, steps, context)
        assert torch.equal(controlled(x, steps, context, *zeros), nothing)
        for number in range(len(zeros)):
            one = [torch.randn(z.shape) if i == number else z for i, z in enumerate(zeros)]
            assert not torch.allclose(controlled(x, steps, context, *one), nothing, atol=1e-4)


def test_gradients_reach_every_weight() -> None:
    net, unet = ControlNet(ControlNetConfig(UNEVEN)), UNetControl(UNEVEN)
    x, context, steps = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 64), torch.tensor([500.0])
    residuals = net(x, torch.rand(1, 3, 64, 64), steps, context)
    unet(x, steps, context, *residuals).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("form", ["onnx", "onnx-trt"])
def test_every_dialect_has_one_input_per_residual(form: str) -> None:
    definition = NETWORKS["unet_core_control"]
    program = traced("unet_core_control", UNEVEN)
    found = emit(program, form, definition.inputs(UNEVEN), definition.outputs(UNEVEN), "fp16")
    names = [s.name for s in found.inputs]
    assert names == ["x", "time", "context_kv", *(f"control_{n}" for n in range(len(residual_sizes(UNEVEN))))]
    for name in names:
        assert name.encode() in found.graph
