"""Small ONNX networks with one weight each, for tests of what a builder says to them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from compiler.exporting.onnx.skeleton import Skeleton, WeightSlot
from graphs.dims import Dim
from runtime.backends.backend import NetworkModel, TensorSpec

INPUTS = (TensorSpec("x", "float16", (Dim("batch"), 8)),)
OUTPUTS = (TensorSpec("y", "float16", (Dim("batch"), 16)),)
WEIGHT = (8, 16)


def product(folder: Path, *, weight: tuple[int, ...] | None = WEIGHT, op: str = "MatMul") -> NetworkModel:
    """y = x w, with a weight file. weight: the shape in the file, None leaves it out. op: in place of MatMul."""
    skeleton = Skeleton()
    skeleton.weight(WeightSlot("w", "w", "", WEIGHT, "float16"))
    skeleton.node(op, ["x", "w"], ["y"], name="the_product")
    tensors = {} if weight is None else {"w": torch.randn(weight, dtype=torch.float16)}
    return _model("product", skeleton, INPUTS, OUTPUTS, tensors, folder)


def attention(folder: Path, heads: int, head_dim: int) -> NetworkModel:
    """Attention alone, in the form that TensorRT takes."""
    shape = (Dim("batch"), heads, Dim("length"), head_dim)
    skeleton = Skeleton()
    skeleton.node("Attention", ["q", "k", "v"], ["y"], name="the_attention", scale=head_dim**-0.5)
    inputs, outputs = tuple(TensorSpec(n, "float16", shape) for n in "qkv"), (TensorSpec("y", "float16", shape),)
    return _model("attention", skeleton, inputs, outputs, {}, folder)


def written_out_attention(folder: Path, heads: int, head_dim: int) -> NetworkModel:
    """The same, less the scale, as two products and a softmax: what a builder may fuse or not."""
    shape = (Dim("batch"), heads, Dim("length"), head_dim)
    skeleton = Skeleton()
    skeleton.node("Transpose", ["k"], ["kT"], name="transpose", perm=[0, 1, 3, 2])
    skeleton.node("MatMul", ["q", "kT"], ["scores"], name="scores")
    skeleton.node("Softmax", ["scores"], ["weights"], name="softmax", axis=-1)
    skeleton.node("MatMul", ["weights", "v"], ["y"], name="product")
    inputs, outputs = tuple(TensorSpec(n, "float16", shape) for n in "qkv"), (TensorSpec("y", "float16", shape),)
    return _model("written_out", skeleton, inputs, outputs, {}, folder)


def _model(
    kind: str, skeleton: Skeleton, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...],
    tensors: dict[str, torch.Tensor], folder: Path,
) -> NetworkModel:  # fmt: skip
    path = folder / f"{kind}.safetensors"
    save_file(tensors, path)
    return NetworkModel(kind, skeleton.to_bytes(inputs, outputs, 23, 11), inputs, outputs, (path,))
