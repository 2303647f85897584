"""Layers with weights: convolution, linear, norms, and plain matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import fx

from compiler.exporting.onnx.emitter import Emitter, Translator
from compiler.exporting.onnx.values import Shape, Value, shape_of
from graphs.errors import ExportError


def _convolution(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x, weight = e.to_compute(e.value(a["input"])), e.value(a["weight"])
    if isinstance(a.get("padding"), str) or a.get("transposed"):
        raise ExportError(f"{node.target} with padding {a['padding']!r} has no ONNX form", where=node.name)
    rank = weight.rank - 2
    stride, padding, dilation = (_each(a.get(k, d), rank) for k, d in (("stride", 1), ("padding", 0), ("dilation", 1)))
    inputs: list[Value | str] = [x, weight]
    if a.get("bias") is not None:
        inputs.append(e.value(a["bias"]))
    return e.emit(
        "Conv", inputs, shape_of(node), x.dtype, kernel_shape=[int(k) for k in weight.shape[2:]], strides=stride,
        pads=[*padding, *padding], dilations=dilation, group=a.get("groups", 1),
    )


def _each(value: Any, rank: int) -> list[int]:
    return [value] * rank if isinstance(value, int) else [*value] * (rank if len(value) == 1 else 1)


def _linear(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.to_compute(e.value(a["input"]))
    weight = a["weight"]
    matrix = e.weight(weight, "T") if e.is_weight(weight) else e.transpose(e.value(weight), [1, 0])
    shape = shape_of(node)
    product = e.emit("MatMul", [x, matrix], shape, x.dtype)
    if a.get("bias") is None:
        return product
    return e.emit("Add", [product, e.value(a["bias"])], shape, x.dtype)


def _product(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    left, right = e.value(a["self"]), e.value(a.get("other", a.get("mat2")))
    dtype = e.float_dtype(node, [left, right])
    return e.emit("MatMul", [e.cast(left, dtype), e.cast(right, dtype)], shape_of(node), dtype)


def _add_product(e: Emitter, node: fx.Node) -> Value:
    """addmm and baddbmm: beta self + alpha (a b)."""
    a = e.arguments(node)
    left, right = e.value(a.get("mat1", a.get("batch1"))), e.value(a.get("mat2", a.get("batch2")))
    dtype = e.float_dtype(node, [left, right])
    shape = shape_of(node)
    product = e.emit("MatMul", [e.cast(left, dtype), e.cast(right, dtype)], shape, dtype)
    alpha, beta = a.get("alpha", 1), a.get("beta", 1)
    if alpha != 1:
        product = e.emit("Mul", [product, e.scalar(alpha, dtype)], shape, dtype)
    if beta == 0:
        return product
    bias = e.cast(e.value(a["self"]), dtype)
    if beta != 1:
        bias = e.emit("Mul", [bias, e.scalar(beta, dtype)], bias.shape, dtype)
    return e.emit("Add", [product, bias], shape, dtype)


def _layer_norm(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.to_compute(e.value(a["input"]))
    axes = len(a["normalized_shape"])
    if a.get("weight") is not None:
        scale = e.value(a["weight"])
    else:
        ones = np.ones([int(d) for d in a["normalized_shape"]])
        scale = Value(e.skeleton.constant(ones, x.dtype), x.dtype, ones.shape)
    inputs = [x, scale]
    if a.get("bias") is not None:
        inputs.append(e.value(a["bias"]))
    return e.emit("LayerNormalization", inputs, x.shape, x.dtype, axis=-axes, epsilon=a["eps"], stash_type=1)


def _group_norm(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.to_compute(e.value(a["input"]))
    if a.get("weight") is None or a.get("bias") is None:
        raise ExportError("group_norm without weight and bias has no ONNX form", where=node.name)
    scale, shift = e.value(a["weight"]), e.value(a["bias"])
    if e.dialect.group_norm == "standard":
        return e.emit(
            "GroupNormalization", [x, scale, shift], x.shape, x.dtype, epsilon=a["eps"], num_groups=a["num_groups"],
            stash_type=1,
        )
    return _instance_form(e, x, scale, shift, a["num_groups"], a["eps"])


def _instance_form(e: Emitter, x: Value, scale: Value, shift: Value, groups: int, eps: float) -> Value:
    """InstanceNormalization over (B, groups, rest), then scale and shift by channel."""
    grouped_shape: Shape = (x.shape[0], groups, _Rest(x.shape, groups))
    grouped = e.emit("Reshape", [x, e.ints([0, groups, -1])], grouped_shape, x.dtype)
    one = Value(e.skeleton.constant(np.ones(groups), x.dtype), x.dtype, (groups,))
    zero = Value(e.skeleton.constant(np.zeros(groups), x.dtype), x.dtype, (groups,))
    normal = e.emit("InstanceNormalization", [grouped, one, zero], grouped_shape, x.dtype, epsilon=eps)
    back = e.emit("Reshape", [normal, _shape_like(e, x)], x.shape, x.dtype)
    wide = (int(scale.shape[0]), *([1] * (x.rank - 2)))
    scaled = e.emit("Mul", [back, _channelwise(e, scale, wide)], x.shape, x.dtype)
    return e.emit("Add", [scaled, _channelwise(e, shift, wide)], x.shape, x.dtype)


def _channelwise(e: Emitter, weight: Value, wide: tuple[int, ...]) -> Value:
    return e.emit("Reshape", [weight, e.ints(wide)], wide, weight.dtype)


def _shape_like(e: Emitter, x: Value) -> str:
    return e.emit("Shape", [x], (x.rank,), "int64").name


class _Rest(int):
    """The size of what is left after grouping: never asked for, so it has no value of its own."""

    def __new__(cls, shape: Shape, groups: int) -> _Rest:
        return super().__new__(cls, -1)


def _softmax(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    wide = e.cast(x, "float32")
    result = e.emit("Softmax", [wide], x.shape, "float32", axis=a["dim"])
    return e.cast(result, x.dtype)


def _reduce(op: str) -> Translator:
    def translate(e: Emitter, node: fx.Node) -> Value:
        a = e.arguments(node)
        x = e.value(a["self"])
        dims = a.get("dim")
        dims = list(range(x.rank)) if dims is None else [dims] if isinstance(dims, int) else list(dims)
        keep = int(bool(a.get("keepdim")))
        return e.emit(op, [x, e.ints([d % x.rank for d in dims])], shape_of(node), x.dtype, keepdims=keep)

    return translate


def _average_pool(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    kernel = _each(a["kernel_size"], 2)
    stride = _each(a["stride"], 2) if a.get("stride") else kernel
    padding = _each(a.get("padding", 0), 2)
    return e.emit(
        "AveragePool", [x], shape_of(node), x.dtype, kernel_shape=kernel, strides=stride, pads=[*padding, *padding],
        ceil_mode=int(bool(a.get("ceil_mode"))), count_include_pad=int(bool(a.get("count_include_pad", True))),
    )


LAYERS: Mapping[str, Translator] = {
    "aten.conv2d.default": _convolution,
    "aten.conv1d.default": _convolution,
    "aten.convolution.default": _convolution,
    "aten.linear.default": _linear,
    "aten.matmul.default": _product,
    "aten.mm.default": _product,
    "aten.bmm.default": _product,
    "aten.addmm.default": _add_product,
    "aten.baddbmm.default": _add_product,
    "aten.layer_norm.default": _layer_norm,
    "aten.group_norm.default": _group_norm,
    "aten.softmax.int": _softmax,
    "aten._softmax.default": _softmax,
    "aten.mean.dim": _reduce("ReduceMean"),
    "aten.sum.dim_IntList": _reduce("ReduceSum"),
    "aten.amax.default": _reduce("ReduceMax"),
    "aten.avg_pool2d.default": _average_pool,
}
