"""Ops that move, join, split and index without arithmetic."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from compiler.exporting.onnx.emitter import Emitter, Translator
from compiler.exporting.onnx.upsampling import convolution_after, split_convolution
from compiler.exporting.onnx.values import Shape, Value, shape_of
from graphs.errors import ExportError

_END = (1 << 63) - 1


def _reshape(e: Emitter, node: fx.Node) -> Value:
    return e.reshape(e.value(node.args[0]), shape_of(node))


def _permute(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    return e.transpose(x, [d % x.rank for d in a["dims"]])


def _transpose(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    order = list(range(x.rank))
    first, second = a.get("dim0", 0) % x.rank, a.get("dim1", 1) % x.rank
    order[first], order[second] = order[second], order[first]
    return e.transpose(x, order)


def _expand(e: Emitter, node: fx.Node) -> Value:
    x = e.value(node.args[0])
    shape = shape_of(node)
    if x.shape == shape:
        return x
    return e.emit("Expand", [x, e.shape_tensor(shape)], shape, x.dtype)


def _repeat(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    repeats = [r if isinstance(r, int) else r.meta["val"].node.expr for r in a["repeats"]]
    if len(repeats) > x.rank:
        x = e.reshape(x, (1,) * (len(repeats) - x.rank) + x.shape)
    return e.emit("Tile", [x, e.shape_tensor(repeats)], shape_of(node), x.dtype)


def _join(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    parts = [e.value(n) for n in a["tensors"]]
    dtype = e.float_dtype(node, parts)
    shape = shape_of(node)
    return e.emit("Concat", [e.cast(p, dtype) for p in parts], shape, dtype, axis=a.get("dim", 0) % len(shape))


def _stack(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    shape = shape_of(node)
    axis = a.get("dim", 0) % len(shape)
    parts = [e.value(n) for n in a["tensors"]]
    dtype = e.float_dtype(node, parts)
    lifted = [_unsqueezed(e, e.cast(p, dtype), axis) for p in parts]
    return e.emit("Concat", lifted, shape, dtype, axis=axis)


def _unsqueezed(e: Emitter, x: Value, axis: int) -> Value:
    shape = (*x.shape[:axis], 1, *x.shape[axis:])
    return e.emit("Unsqueeze", [x, e.ints([axis])], shape, x.dtype)


def _unsqueeze(e: Emitter, node: fx.Node) -> Value:
    x = e.value(node.args[0])
    axis = node.args[1]
    assert isinstance(axis, int)
    return _unsqueezed(e, x, axis % (x.rank + 1))


def _squeeze(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    dims = a["dim"] if isinstance(a["dim"], list | tuple) else [a["dim"]]
    axes = sorted(d % x.rank for d in dims)
    if shape_of(node) == x.shape:
        return x
    return e.emit("Squeeze", [x, e.ints(axes)], shape_of(node), x.dtype)


def _split(e: Emitter, node: fx.Node) -> tuple[Value, ...]:
    """split and chunk: sizes come from the traced outputs."""
    a = e.arguments(node)
    x = e.value(a["self"])
    axis = a.get("dim", 0) % x.rank
    shapes: list[Shape] = [tuple(d if isinstance(d, int) else d.node.expr for d in v.shape) for v in node.meta["val"]]
    sizes = [s[axis] for s in shapes]
    if not all(isinstance(s, int) for s in sizes):
        raise ExportError("split along a dynamic dimension has no ONNX form", where=node.name)
    return e.emit_many("Split", [x, e.ints(sizes)], [(s, x.dtype) for s in shapes], axis=axis)


def _getitem(e: Emitter, node: fx.Node) -> Value:
    return e.values(node.args[0])[node.args[1]]  # type: ignore[arg-type, index]


def _slice(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    axis = (a.get("dim") or 0) % x.rank
    start, end, step = a.get("start") or 0, a.get("end"), a.get("step") or 1
    if start == 0 and step == 1 and shape_of(node) == x.shape:
        return x
    bounds = [_bound(e, b) for b in (start, _END if end is None else end)]
    return e.emit("Slice", [x, *bounds, e.ints([axis]), e.ints([step])], shape_of(node), x.dtype)


def _bound(e: Emitter, bound: Any) -> str:
    if isinstance(bound, fx.Node):
        size = bound.meta["val"]
        return e.dim(size if isinstance(size, int) else size.node.expr)
    return e.ints([bound])


def _select(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    index = a["index"]
    if isinstance(index, fx.Node):
        raise ExportError("select at a dynamic index has no ONNX form", where=node.name)
    return e.emit("Gather", [x, e.scalar(index, "int64")], shape_of(node), x.dtype, axis=a["dim"] % x.rank)


def _embedding(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    table, index = e.value(a["weight"]), e.value(a["indices"])
    return e.emit("Gather", [table, index], shape_of(node), table.dtype, axis=0)


def _index_select(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    return e.emit("Gather", [x, e.value(a["index"])], shape_of(node), x.dtype, axis=a["dim"] % x.rank)


def _gather(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    return e.emit("GatherElements", [x, e.value(a["index"])], shape_of(node), x.dtype, axis=a["dim"] % x.rank)


def _index(e: Emitter, node: fx.Node) -> Value:
    """x[i, j, ...] with index tensors on the leading axes: GatherND over the broadcast indices."""
    a = e.arguments(node)
    x = e.value(a["self"])
    given = a["indices"]
    lead = [n for n in given if n is not None]
    if len(lead) == 1:
        axis = list(given).index(lead[0])
        index = e.value(lead[0])
        return e.emit("Gather", [x, index], shape_of(node), x.dtype, axis=axis)
    if any(n is None for n in given):
        raise ExportError("indexing with gaps has no ONNX form", where=node.name)
    values = [e.value(n) for n in lead]
    rank = max(v.rank for v in values)
    shape = shape_of(node)[:rank]
    parts = []
    for v in values:
        whole = v if v.shape == shape else e.emit("Expand", [v, e.shape_tensor(shape)], shape, v.dtype)
        parts.append(_unsqueezed(e, e.cast(whole, "int64"), rank))
    joined = e.emit("Concat", parts, (*shape, len(parts)), "int64", axis=rank)
    return e.emit("GatherND", [x, joined], shape_of(node), x.dtype)


def _argmax(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    if a.get("dim") is None:
        raise ExportError("argmax over all dimensions has no ONNX form", where=node.name)
    keep = int(bool(a.get("keepdim")))
    if x.dtype == "bool":
        x = e.cast(x, "int32")
    return e.emit("ArgMax", [x], shape_of(node), "int64", axis=a["dim"] % x.rank, keepdims=keep)


def _pad(e: Emitter, node: fx.Node) -> Value:
    a = e.arguments(node)
    x = e.value(a["self"])
    mode = a.get("mode") or "constant"
    if mode not in ("constant", "reflect") or not all(isinstance(p, int) for p in a["pad"]):
        raise ExportError(f"pad {mode} {a['pad']} has no ONNX form", where=node.name)
    before, after = [0] * x.rank, [0] * x.rank
    for i in range(len(a["pad"]) // 2):
        before[-1 - i], after[-1 - i] = a["pad"][2 * i], a["pad"][2 * i + 1]
    inputs: list[Value | str] = [x, e.ints([*before, *after])]
    if mode == "constant":
        inputs.append(e.scalar(a.get("value") or 0.0, x.dtype))
    return e.emit("Pad", inputs, shape_of(node), x.dtype, mode=mode)


def _nearest(e: Emitter, node: fx.Node) -> Value:
    """Nearest neighbour as torch has it: source index floor(i x in / out)."""
    x = e.value(node.args[0])
    shape = shape_of(node)
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    doubled = all(o == 2 * i for o, i in zip(shape[2:], x.shape[2:], strict=True))
    if doubled and (convolution := convolution_after(e, node)) is not None:
        # Both at once: the upsampled picture is never made, and nothing else asks for it.
        both = split_convolution(e, x, convolution)
        e.bind(convolution, both)
        return both
    if doubled:
        scales = e.tensor(torch.tensor([1.0, 1.0, *([2.0] * (x.rank - 2))]))
        return e.emit("Resize", [x, "", scales], shape, x.dtype, **attributes)
    return e.emit("Resize", [x, "", "", e.shape_tensor(shape)], shape, x.dtype, **attributes)


LAYOUT: Mapping[str, Translator] = {
    "aten.view.default": _reshape,
    "aten.reshape.default": _reshape,
    "aten._unsafe_view.default": _reshape,
    "aten.flatten.using_ints": _reshape,
    "aten.unflatten.int": _reshape,
    "aten.permute.default": _permute,
    "aten.transpose.int": _transpose,
    "aten.t.default": _transpose,
    "aten.expand.default": _expand,
    "aten.repeat.default": _repeat,
    "aten.cat.default": _join,
    "aten.stack.default": _stack,
    "aten.unsqueeze.default": _unsqueeze,
    "aten.squeeze.dim": _squeeze,
    "aten.squeeze.dims": _squeeze,
    "aten.chunk.default": _split,
    "aten.split.Tensor": _split,
    "aten.split.sizes": _split,
    "aten.split_with_sizes.default": _split,
    str(operator.getitem): _getitem,
    "aten.slice.Tensor": _slice,
    "aten.select.int": _select,
    "aten.embedding.default": _embedding,
    "aten.index_select.default": _index_select,
    "aten.gather.default": _gather,
    "aten.index.Tensor": _index,
    "aten.argmax.default": _argmax,
    "aten.pad.default": _pad,
    "aten.constant_pad_nd.default": _pad,
    "aten.upsample_nearest2d.vec": _nearest,
    "aten.upsample_nearest2d.default": _nearest,
}
