"""The backend of onnxruntime: weights found by their place in the mapped file, and files that are not the right one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from compiler.exporting.export import Exported, emit, trace
from compiler.linking.weights import materialise
from graphs.dims import Dim
from graphs.errors import BuildError, DeviceError, PlanError, RunError
from runtime.artifacts import StoreArtifacts
from runtime.backends.backend import WEIGHTS_LOCATION, EngineSpec, NetworkModel, TensorSpec
from runtime.backends.onnxruntime import OnnxRuntimeBackend
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


def weight_file(network: Exported, module: torch.nn.Module, folder: Path) -> Path:
    tensors = {name: (lambda t=tensor: t) for name, tensor in module.state_dict().items()}
    store = Store(folder)
    return StoreArtifacts(store).weights_path(materialise(network.initializers, tensors, store, recipe="block"))


def built(network: Exported, weights: Path | None) -> bytes:
    path = None if weights is None else str(weights)
    return OnnxRuntimeBackend().build(NetworkModel("block", network.graph, network.inputs, network.outputs, path), SPEC)


def test_one_engine_computes_with_the_weights_of_each_file(tmp_path: Path) -> None:
    network = exported(Block(0))
    engine = built(network, weight_file(network, Block(0), tmp_path / "0"))
    for seed in (0, 1):
        block = Block(seed)
        module = OnnxRuntimeBackend().load(engine, str(weight_file(network, block, tmp_path / str(seed))), SPEC)
        with torch.no_grad():
            torch.testing.assert_close(module({"x": X})["y"], block(X), rtol=1e-5, atol=1e-5)
        module.close()


@pytest.mark.parametrize("length", [1, 2, 3, 48, 49, len(WEIGHTS_LOCATION) - 2, len(WEIGHTS_LOCATION)])
def test_a_weight_file_may_have_any_name(length: int, tmp_path: Path) -> None:
    block = Block(0)
    network = exported(block)
    path = tmp_path / ("w" * length)
    shutil.copy(weight_file(network, block, tmp_path / "store"), path)
    with torch.no_grad():
        expected = block(X)
    module = OnnxRuntimeBackend().load(built(network, path), str(path), SPEC)
    torch.testing.assert_close(module({"x": X})["y"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [len(WEIGHTS_LOCATION) - 1, len(WEIGHTS_LOCATION) + 1])
def test_a_name_that_does_not_fit_is_refused(length: int, tmp_path: Path) -> None:
    block = Block(0)
    network = exported(block)
    path = tmp_path / ("w" * length)
    shutil.copy(weight_file(network, block, tmp_path / "store"), path)
    with pytest.raises(PlanError, match="name of the weight file"):
        OnnxRuntimeBackend().load(network.graph, str(path), SPEC)


def test_weights_of_another_layout_are_refused(tmp_path: Path) -> None:
    network, other = exported(Block(0)), exported(Block(0, width=12))
    path = weight_file(other, Block(0, width=12), tmp_path)
    with pytest.raises(PlanError, match="other weights"):
        OnnxRuntimeBackend().load(network.graph, str(path), SPEC)
    with pytest.raises(PlanError, match="other weights"):
        built(network, path)


def test_a_missing_or_cut_weight_file_is_one_plan_error(tmp_path: Path) -> None:
    network = exported(Block(0))
    path = weight_file(network, Block(0), tmp_path)
    with pytest.raises(PlanError, match="gone"):
        OnnxRuntimeBackend().load(network.graph, str(tmp_path / "no_such_file"), SPEC)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(PlanError, match="cannot load"):
        OnnxRuntimeBackend().load(network.graph, str(path), SPEC)


def test_what_is_no_graph_is_refused_by_build_and_load() -> None:
    with pytest.raises(BuildError):
        OnnxRuntimeBackend().build(NetworkModel("noise", b"no graph", (), (), None), SPEC)
    with pytest.raises(PlanError):
        OnnxRuntimeBackend().load(b"no graph", None, SPEC)


def test_inputs_are_checked_by_name_and_dtype(tmp_path: Path) -> None:
    network = exported(Block(0))
    module = OnnxRuntimeBackend().load(network.graph, str(weight_file(network, Block(0), tmp_path)), SPEC)
    with pytest.raises(RunError, match="missing"):
        module({})
    with pytest.raises(RunError, match="dtype"):
        module({"x": X.double()})
    with pytest.raises(RunError, match="onnxruntime"):
        module({"x": X[:, :3].contiguous()})


def test_only_the_cpu_is_served() -> None:
    with pytest.raises(DeviceError):
        OnnxRuntimeBackend().load(b"", None, EngineSpec("fp32", "cuda"))
