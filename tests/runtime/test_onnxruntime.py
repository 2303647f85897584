"""The backend of onnxruntime: weights found by their place in the mapped file, and files that are not the right one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from compiler.exporting.export import Exported, emit, trace
from compiler.linking.weights import materialise
from compiler.models.weights_tree import Layer
from graphs.dims import Dim
from graphs.errors import BuildError, DeviceError, PlanError, RunError
from runtime.artifacts import StoreArtifacts
from runtime.backends.backend import LOCATION_BYTES, EngineSpec, LoadSpec, NetworkModel, TensorSpec
from runtime.backends.onnxruntime import OnnxRuntimeBackend, OrtModule
from runtime.network_weights import NetworkWeights
from runtime.store import Store

SPEC = EngineSpec("fp32", "cpu")
X = torch.linspace(-1, 1, 2 * 6 * 7 * 5).reshape(2, 6, 7, 5)


class Block(torch.nn.Module):
    """A convolution, a norm and a matrix product: every way in which weights are used."""

    def __init__(self, seed: int, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = torch.nn.Conv2d(6, width, 3, padding=1)
        self.norm = torch.nn.GroupNorm(4, width)
        self.linear = torch.nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(torch.nn.functional.silu(self.norm(self.conv(x))).permute(0, 2, 3, 1))
        return out


def exported(module: torch.nn.Module) -> Exported:
    inputs = (TensorSpec("x", "float32", (Dim("batch"), 6, Dim("height"), Dim("width"))),)
    outputs = (TensorSpec("y", "float32", (Dim("batch"), Dim("height"), Dim("width"), 3)),)
    return emit(trace(module, inputs), "onnx-ort", inputs, outputs)


def layer(tensors: Mapping[str, torch.Tensor], recipe: str) -> Layer:
    return Layer({name: partial(torch.Tensor.clone, tensor) for name, tensor in tensors.items()}, recipe)


def weight_file(network: Exported, module: torch.nn.Module, folder: Path) -> Path:
    store = Store(folder)
    weights = materialise(network.initializers, [layer(module.state_dict(), "block")], store)
    return StoreArtifacts(store).weights(weights).whole[0]


def built(network: Exported, *weights: Path) -> bytes:
    model = NetworkModel("block", network.graph, network.inputs, network.outputs, weights)
    return OnnxRuntimeBackend().build(model, SPEC)


def loaded(engine: bytes, *weights: Path) -> OrtModule:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "engine"
        path.write_bytes(engine)
        return OnnxRuntimeBackend().load(path, NetworkWeights.of(*weights), LoadSpec())


def test_one_engine_computes_with_the_weights_of_each_file(tmp_path: Path) -> None:
    network = exported(Block(0))
    engine = built(network, weight_file(network, Block(0), tmp_path / "0"))
    for seed in (0, 1):
        block = Block(seed)
        module = loaded(engine, weight_file(network, block, tmp_path / str(seed)))
        with torch.no_grad():
            torch.testing.assert_close(module({"x": X})["y"], block(X), rtol=1e-5, atol=1e-5)
        module.close()


@pytest.mark.parametrize("length", [1, 2, 3, 48, 49, LOCATION_BYTES - 2, LOCATION_BYTES])
def test_a_weight_file_may_have_any_name(length: int, tmp_path: Path) -> None:
    block = Block(0)
    network = exported(block)
    path = tmp_path / ("w" * length)
    shutil.copy(weight_file(network, block, tmp_path / "store"), path)
    with torch.no_grad():
        expected = block(X)
    module = loaded(built(network, path), path)
    torch.testing.assert_close(module({"x": X})["y"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [LOCATION_BYTES - 1, LOCATION_BYTES + 1])
def test_a_name_that_does_not_fit_is_refused(length: int, tmp_path: Path) -> None:
    block = Block(0)
    network = exported(block)
    path = tmp_path / ("w" * length)
    shutil.copy(weight_file(network, block, tmp_path / "store"), path)
    with pytest.raises(PlanError, match="name of the weight file"):
        loaded(network.graph, path)


def test_weights_of_another_layout_are_refused(tmp_path: Path) -> None:
    network, other = exported(Block(0)), exported(Block(0, width=12))
    path = weight_file(other, Block(0, width=12), tmp_path)
    with pytest.raises(PlanError, match="other weights"):
        loaded(network.graph, path)
    with pytest.raises(PlanError, match="other weights"):
        built(network, path)


def test_a_missing_or_cut_weight_file_is_one_plan_error(tmp_path: Path) -> None:
    network = exported(Block(0))
    path = weight_file(network, Block(0), tmp_path)
    with pytest.raises(PlanError, match="gone"):
        loaded(network.graph, tmp_path / "no_such_file")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(PlanError, match="cannot load"):
        loaded(network.graph, path)


def test_what_is_no_graph_is_refused_by_build_and_load() -> None:
    with pytest.raises(BuildError):
        OnnxRuntimeBackend().build(NetworkModel("noise", b"no graph", (), ()), SPEC)
    with pytest.raises(PlanError):
        loaded(b"no graph")


def test_inputs_are_checked_by_name_and_dtype(tmp_path: Path) -> None:
    network = exported(Block(0))
    module = loaded(network.graph, weight_file(network, Block(0), tmp_path))
    with pytest.raises(RunError, match="missing"):
        module({})
    with pytest.raises(RunError, match="dtype"):
        module({"x": X.double()})
    with pytest.raises(RunError, match="onnxruntime"):
        module({"x": X[:, :3].contiguous()})


def test_only_the_cpu_is_served() -> None:
    with pytest.raises(DeviceError):
        OnnxRuntimeBackend().load(Path("engine"), NetworkWeights([]), LoadSpec("cuda"))


def layered_file(network: Exported, changed: dict[str, torch.Tensor], folder: Path) -> Path:
    """A file of some weights, in the store beside the base file."""
    store = Store(folder)
    base, mix = layer(Block(0).state_dict(), "block"), layer(changed, "mix")
    return StoreArtifacts(store).weights(materialise(network.initializers, [base, mix], store)).whole[-1]


def test_the_later_layer_wins(tmp_path: Path) -> None:
    network, block = exported(Block(0)), Block(0)
    base = weight_file(network, block, tmp_path)
    other = Block(1).state_dict()
    changed = {name: other[name] for name in ("linear.weight", "conv.bias")}
    top = layered_file(network, changed, tmp_path)
    assert top.stat().st_size < 700
    block.load_state_dict(changed, strict=False)
    with torch.no_grad():
        expected = block(X)
    module = loaded(built(network, base, top), base, top)
    torch.testing.assert_close(module({"x": X})["y"], expected, rtol=1e-5, atol=1e-5)


def test_weights_are_replaced_in_a_loaded_engine(tmp_path: Path) -> None:
    network, block = exported(Block(0)), Block(0)
    module = loaded(network.graph, weight_file(network, block, tmp_path))
    names = {i.key: i.name for i in network.initializers}
    bias = torch.ones(8)
    module.set_weights({names["conv.bias"]: bias})
    block.load_state_dict({"conv.bias": bias}, strict=False)
    with torch.no_grad():
        torch.testing.assert_close(module({"x": X})["y"], block(X), rtol=1e-5, atol=1e-5)
    with pytest.raises(PlanError, match="do not fit"):
        module.set_weights({"no such weight": bias})
    with torch.no_grad():
        torch.testing.assert_close(module({"x": X})["y"], block(X), rtol=1e-5, atol=1e-5)


def test_a_layer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    network, other = exported(Block(0)), exported(Block(0, width=12))
    base, top = (weight_file(n, Block(0, width=w), tmp_path) for n, w in ((network, 8), (other, 12)))
    with pytest.raises(PlanError, match="does not fit the one below it"):
        loaded(network.graph, base, top)


def test_layers_may_lie_in_different_folders(tmp_path: Path) -> None:
    network, block = exported(Block(0)), Block(1)
    base, other = (weight_file(network, Block(seed), tmp_path / f"a/{seed}/store") for seed in (0, 1))
    (tmp_path / "b").mkdir()
    top = Path(shutil.copy(other, tmp_path / "b"))
    with torch.no_grad():
        torch.testing.assert_close(loaded(network.graph, base, top)({"x": X})["y"], block(X), rtol=1e-5, atol=1e-5)
