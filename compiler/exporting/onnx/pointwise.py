"""Element-wise arithmetic, comparisons, casts and constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import fx

from compiler.exporting.onnx.emitter import Emitter, Translator
from compiler.exporting.onnx.skeleton import MICROSOFT, onnx_dtype
from compiler.exporting.onnx.values import Value, dtype_name, shape_of
from graphs.errors import ExportError


def _binary(op: str, comparison: bool = False) -> Translator:
    def translate(e: Emitter, node: fx.Node) -> Value:
        a = e.arguments(node)
        left, right = a["self"], a["other"]
        if a.get("alpha", 1) != 1:
            raise ExportError(f"{node.target} with alpha {a['alpha']} has no ONNX form", where=node.name)
        return _apply(e, node, op, left, right, comparison)

    return translate


def _apply(e: Emitter, node: fx.Node, op: str, left: Any, right: Any, comparison: bool = False) -> Value:
    tensors = [e.value(x) for x in (left, right) if isinstance(x, fx.Node) and _is_tensor(x)]
    dtype = _common(e, node, tensors, comparison)
    sides = [
        e.cast(e.value(x), dtype) if isinstance(x, fx.Node) and _is_tensor(x) else _number(e, x, dtype)
        for x in (left, right)
    ]
    return e.emit(op, sides, shape_of(node), "bool" if comparison else dtype)


def _number(e: Emitter, x: Any, dtype: str) -> Value:
    if isinstance(x, fx.Node):  # a symbolic size used as a number
        size = x.meta["val"]
        name = e.dim(size if isinstance(size, int) else size.node.expr)
        return e.cast(Value(name, "int64", (1,)), dtype)
    return e.scalar(x, dtype)


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _common(e: Emitter, node: fx.Node, tensors: list[Value], comparison: bool) -> str:
    if not comparison:
        return e.float_dtype(node, tensors)
    floats = [v.dtype for v in tensors if v.dtype.startswith(("float", "bfloat"))]
    return min(floats, key=len) if floats else tensors[0].dtype


def _unary(op: str, domain: str = "") -> Translator:
    def translate(e: Emitter, node: fx.Node) -> Value:
        x = e.value(e.arguments(node)["self"])
        dtype = e.float_dtype(node, [x])
        return e.emit(op, [e.cast(x, dtype)], shape_of(node), dtype, domain=domain)

    return translate


def _rsub(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    return _apply(e, node, "Sub", a["other"], a["self"])


def _rsqrt(e: Emitter, node: fx.Node) -> Value:
    x = e.value(e.arguments(node)["self"])
    return e.emit("Reciprocal", [e.emit("Sqrt", [x], x.shape, x.dtype)], x.shape, x.dtype)


def _power(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    return _apply(e, node, "Pow", a["self"], a["exponent"])


def _clamp(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    dtype = e.float_dtype(node, [x])
    limits = [e.scalar(a[k], dtype).name if a.get(k) is not None else "" for k in ("min", "max")]
    return e.emit("Clip", [e.cast(x, dtype), *limits], shape_of(node), dtype)


def _silu(e: Emitter, node: fx.Node) -> Value:
    x = e.value(e.arguments(node)["self"])
    if e.dialect.microsoft:
        return e.emit("QuickGelu", [x], x.shape, x.dtype, domain=MICROSOFT, alpha=1.0)
    return e.emit("Mul", [x, e.emit("Sigmoid", [x], x.shape, x.dtype)], x.shape, x.dtype)


def _gelu(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    return e.emit("Gelu", [x], x.shape, x.dtype, approximate=a.get("approximate") or "none")


def _to(e: Emitter, node: fx.Node) -> Value:
    """A change of dtype. Float to float follows the traced dtype only where that is float32 by rule; the emitter's
    own rule decides the rest."""
    x = e.value(e.arguments(node)["self"])
    traced = dtype_name(node.meta["val"].dtype)
    if traced in ("float32", "float16", "bfloat16"):
        if x.dtype in ("float32", "float16", "bfloat16"):
            return e.cast(x, "float32") if e.needs_float32(node) else x
        return e.cast(x, "float32")
    return e.emit("Cast", [x], x.shape, traced, to=onnx_dtype(traced))


def _where(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    tensors = [e.value(a["self"]), e.value(a["other"])]
    dtype = e.float_dtype(node, tensors)
    return e.emit("Where", [e.value(a["condition"]), *(e.cast(t, dtype) for t in tensors)], shape_of(node), dtype)


def _masked_fill(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    fill = e.value(a["value"]) if isinstance(a["value"], fx.Node) else e.scalar(a["value"], x.dtype)
    return e.emit("Where", [e.value(a["mask"]), e.cast(fill, x.dtype), x], shape_of(node), x.dtype)


def _filled(value: float) -> Translator:
    """full, zeros, ones of a dynamic size (a static one was folded)."""

    def translate(e: Emitter, node: fx.Node) -> Value:
        fill = e.arguments(node).get("fill_value", value)
        dtype = dtype_name(node.meta["val"].dtype)
        shape = shape_of(node)
        return e.emit("Expand", [e.scalar(fill, dtype), e.shape_tensor(shape)], shape, dtype)

    return translate


def _arange(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    dtype = dtype_name(node.meta["val"].dtype)
    if dtype != "int64":
        raise ExportError("arange of a dynamic length is supported for int64 only", where=node.name)
    ends = [a.get("start", 0) or 0, a["end"], a.get("step", 1) or 1]
    limits = [_as_0d(e, x) for x in ends]
    return e.emit("Range", limits, shape_of(node), dtype)


def _as_0d(e: Emitter, x: Any) -> str:
    if not isinstance(x, fx.Node):
        return e.scalar(int(x), "int64").name
    size = x.meta["val"]
    name = e.dim(size if isinstance(size, int) else size.node.expr)
    empty = e.skeleton.constant(np.zeros(0, dtype=np.int64), "int64")
    return e.emit("Reshape", [name, empty], (), "int64").name


def _same(e: Emitter, node: fx.Node) -> Value:
    return e.value(node.args[0])


POINTWISE: Mapping[str, Translator] = {
    "aten.add.Tensor": _binary("Add"),
    "aten.add.Scalar": _binary("Add"),
    "aten.sub.Tensor": _binary("Sub"),
    "aten.sub.Scalar": _binary("Sub"),
    "aten.rsub.Scalar": _rsub,
    "aten.mul.Tensor": _binary("Mul"),
    "aten.mul.Scalar": _binary("Mul"),
    "aten.div.Tensor": _binary("Div"),
    "aten.div.Scalar": _binary("Div"),
    "aten.maximum.default": _binary("Max"),
    "aten.minimum.default": _binary("Min"),
    "aten.eq.Tensor": _binary("Equal", comparison=True),
    "aten.eq.Scalar": _binary("Equal", comparison=True),
    "aten.lt.Tensor": _binary("Less", comparison=True),
    "aten.lt.Scalar": _binary("Less", comparison=True),
    "aten.le.Tensor": _binary("LessOrEqual", comparison=True),
    "aten.le.Scalar": _binary("LessOrEqual", comparison=True),
    "aten.gt.Tensor": _binary("Greater", comparison=True),
    "aten.gt.Scalar": _binary("Greater", comparison=True),
    "aten.ge.Tensor": _binary("GreaterOrEqual", comparison=True),
    "aten.ge.Scalar": _binary("GreaterOrEqual", comparison=True),
    "aten.pow.Tensor_Scalar": _power,
    "aten.neg.default": _unary("Neg"),
    "aten.abs.default": _unary("Abs"),
    "aten.exp.default": _unary("Exp"),
    "aten.log.default": _unary("Log"),
    "aten.sqrt.default": _unary("Sqrt"),
    "aten.rsqrt.default": _rsqrt,
    "aten.reciprocal.default": _unary("Reciprocal"),
    "aten.sin.default": _unary("Sin"),
    "aten.cos.default": _unary("Cos"),
    "aten.tanh.default": _unary("Tanh"),
    "aten.erf.default": _unary("Erf"),
    "aten.sigmoid.default": _unary("Sigmoid"),
    "aten.relu.default": _unary("Relu"),
    "aten.floor.default": _unary("Floor"),
    "aten.ceil.default": _unary("Ceil"),
    "aten.round.default": _unary("Round"),
    "aten.silu.default": _silu,
    "aten.gelu.default": _gelu,
    "aten.clamp.default": _clamp,
    "aten.clamp_min.default": _clamp,
    "aten.clamp_max.default": _clamp,
    "aten.to.dtype": _to,
    "aten.to.dtype_layout": _to,
    "aten.to.device": _to,
    "aten._to_copy.default": _to,
    "aten.where.self": _where,
    "aten.masked_fill.Scalar": _masked_fill,
    "aten.masked_fill.Tensor": _masked_fill,
    "aten.full.default": _filled(0.0),
    "aten.zeros.default": _filled(0.0),
    "aten.ones.default": _filled(1.0),
    "aten.arange.default": _arange,
    "aten.arange.start": _arange,
    "aten.arange.start_step": _arange,
    "aten.clone.default": _same,
    "aten.contiguous.default": _same,
    "aten.detach.default": _same,
    "aten.alias.default": _same,
    "aten.lift_fresh_copy.default": _same,
    "aten.dropout.default": _same,
}
