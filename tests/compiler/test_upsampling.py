"""Upsampling and convolution written as four small convolutions: the same numbers, and no upsampled picture."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from compiler.exporting.export import Exported, emit, trace
from compiler.linking.weights import materialise
from compiler.models.weights_tree import Layer
from graphs.dims import Dim
from runtime.artifacts import StoreArtifacts
from runtime.backends.backend import LoadSpec, TensorSpec
from runtime.backends.onnxruntime import OnnxRuntimeBackend
from runtime.store import Store


class Up(nn.Module):
    """options: of the convolution; grown twice where the upsampled picture has a second user."""

    def __init__(self, used_twice: bool = False, **options: int | bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        kernel = int(options.pop("kernel", 3))
        self.used_twice = used_twice
        self.conv = nn.Conv2d(6, 10, kernel, **options)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grown = F.interpolate(x, scale_factor=2.0, mode="nearest")
        out: torch.Tensor = self.conv(grown)
        return torch.cat([out, grown], 1) if self.used_twice else out


def exported(module: nn.Module, form: str = "onnx-ort") -> Exported:
    inputs = (TensorSpec("x", "float32", (Dim("batch"), 6, Dim("height"), Dim("width"))),)
    outputs = (TensorSpec("y", "float32", (Dim("batch"), 10, Dim("h2"), Dim("w2"))),)
    return emit(trace(module, inputs), form, inputs, outputs)


def ops(network: Exported) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(network.graph).graph.node]


def test_it_computes_what_torch_computes_at_any_size(tmp_path: Path) -> None:
    module = Up(padding=1)
    network = exported(module)
    assert (ops(network).count("Conv"), ops(network).count("Resize")) == (4, 0)
    tensors = {name: (lambda t=tensor: t) for name, tensor in module.state_dict().items()}
    store = Store(tmp_path)
    weights = StoreArtifacts(store).weights(materialise(network.initializers, [Layer(tensors, "up")], store))
    engine = OnnxRuntimeBackend().load(store.put("graph-up", network.graph).path, weights, LoadSpec())
    for shape in ((1, 6, 1, 1), (2, 6, 5, 9), (3, 6, 8, 4)):
        x = torch.randn(shape)
        with torch.no_grad():
            expected = module(x)
        torch.testing.assert_close(engine({"x": x})["y"], expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    "module",
    [
        Up(used_twice=True, padding=1), Up(padding=0), Up(padding=1, stride=2), Up(padding=1, bias=False),
        Up(padding=2, dilation=2), Up(padding=1, groups=2), Up(kernel=5, padding=2),
    ],
    ids=["used twice", "no padding", "stride", "no bias", "dilation", "groups", "5x5"],
)  # fmt: skip
def test_everything_else_stays_as_it_is(module: nn.Module) -> None:
    assert (ops(exported(module)).count("Conv"), ops(exported(module)).count("Resize")) == (1, 1)


@pytest.mark.parametrize("form", ["onnx", "onnx-trt"])
def test_other_dialects_keep_both(form: str) -> None:
    assert ops(exported(Up(padding=1), form)).count("Resize") == 1
