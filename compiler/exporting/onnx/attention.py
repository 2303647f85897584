"""scaled_dot_product_attention in the form each dialect runs best.

Heads stay an axis of their own in every form: the (B x heads, S, dim) layout is what TensorRT fails to fuse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from compiler.exporting.onnx.emitter import Emitter
from compiler.exporting.onnx.skeleton import MICROSOFT
from compiler.exporting.onnx.values import Value, shape_of
from graphs.errors import ExportError

_VIEWS = frozenset({"aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.unflatten.int"})


@dataclass(frozen=True)
class _Call:
    """One attention call. query, key, value: (B, heads, S, dim) FX nodes; mask: a node or None."""

    node: fx.Node
    query: fx.Node
    key: fx.Node
    value: fx.Node
    mask: fx.Node | None
    causal: bool
    scale: float


def attention(e: Emitter, node: fx.Node) -> Value:
    """aten.scaled_dot_product_attention.default, (B, heads, S, dim) in and out."""
    call = _read(e, node)
    form = e.dialect.fused_attention
    head_dim = int(shape_of(call.query)[-1])
    fused = form != "decomposed" and e.dialect.min_head_dim <= head_dim <= e.dialect.max_head_dim
    if e.dialect.half_only and e.compute == "float32":
        fused = False
    if fused and form == "com.microsoft":
        done = _multi_head(e, call)
        if done is not None:
            return done
        fused = False
    return _standard(e, call) if fused else _decomposed(e, call)


def _read(e: Emitter, node: fx.Node) -> _Call:
    a = e.arguments(node)
    if a.get("dropout_p") or a.get("enable_gqa"):
        raise ExportError("attention with dropout or grouped queries has no ONNX form", where=node.name)
    scale = a.get("scale")
    if scale is None:
        scale = 1.0 / math.sqrt(int(shape_of(a["query"])[-1]))
    return _Call(node, a["query"], a["key"], a["value"], a.get("attn_mask"), bool(a.get("is_causal")), float(scale))


def _standard(e: Emitter, call: _Call) -> Value:
    q, k, v = (e.to_compute(e.value(n)) for n in (call.query, call.key, call.value))
    inputs: list[Value | str] = [q, k, v]
    if call.mask is not None:
        inputs.append(_mask(e, call.mask, q.dtype))
    return e.emit(
        "Attention", inputs, shape_of(call.node), q.dtype, scale=call.scale, is_causal=int(call.causal) or None
    )


def _decomposed(e: Emitter, call: _Call) -> Value:
    """MatMul, Softmax in float32, MatMul; the scale goes onto the query first, which keeps 16-bit scores in range."""
    q, k, v = (e.to_compute(e.value(n)) for n in (call.query, call.key, call.value))
    shape = (*q.shape[:-1], k.shape[-2])
    scaled = e.emit("Mul", [q, e.scalar(call.scale, q.dtype)], q.shape, q.dtype)
    order = [*range(k.rank - 2), k.rank - 1, k.rank - 2]
    scores = e.emit("MatMul", [scaled, e.transpose(k, order)], shape, q.dtype)
    if call.mask is not None:
        scores = e.emit("Add", [scores, _mask(e, call.mask, q.dtype)], shape, q.dtype)
    if call.causal:
        scores = e.emit("Add", [scores, _causal(e, shape[-2], shape[-1], q.dtype)], shape, q.dtype)
    weights = e.cast(e.emit("Softmax", [e.cast(scores, "float32")], shape, "float32", axis=-1), q.dtype)
    return e.emit("MatMul", [weights, v], shape_of(call.node), q.dtype)


def _mask(e: Emitter, node: fx.Node, dtype: str) -> Value:
    """The mask as numbers to add; True of a boolean mask means: may attend."""
    mask = e.value(node)
    if mask.dtype != "bool":
        return e.cast(mask, dtype)
    return e.emit("Where", [mask, e.scalar(0.0, dtype), e.scalar(_lowest(dtype), dtype)], mask.shape, dtype)


def _causal(e: Emitter, rows: Any, columns: Any, dtype: str) -> Value:
    if isinstance(rows, int) and isinstance(columns, int):
        table = np.triu(np.full((rows, columns), _lowest(dtype)), 1)
        return Value(e.skeleton.constant(table, dtype), dtype, (rows, columns))
    shape = (rows, columns)
    full = e.emit("Expand", [e.scalar(_lowest(dtype), dtype), e.shape_tensor(shape)], shape, dtype)
    return e.emit("Trilu", [full, e.scalar(1, "int64")], shape, dtype, upper=1)


def _lowest(dtype: str) -> float:
    return -60000.0 if dtype == "float16" else -1e30


def _multi_head(e: Emitter, call: _Call) -> Value | None:
    """com.microsoft.MultiHeadAttention on (B, S, heads x dim), which needs no transposed copies.

    Only where query, key and value are plain splits of such tensors; the merge after the call is bound here too.
    """
    parts = [_split_source(n) for n in (call.query, call.key, call.value)]
    merge = _merge_after(call.node)
    if merge is None or any(p is None for p in parts):
        return None
    heads = int(shape_of(call.query)[1])
    q, k, v = (e.to_compute(e.value(p)) for p in parts)
    if call.mask is not None or call.causal:
        return None
    merged = e.emit(
        "MultiHeadAttention", [q, k, v], shape_of(merge), q.dtype, domain=MICROSOFT, num_heads=heads, scale=call.scale
    )
    e.bind(merge, merged)
    shape = shape_of(call.node)
    sizes = e.ints([0, -1, heads, int(shape[-1])])
    split = e.emit("Reshape", [merged, sizes], (shape[0], shape[2], *shape[1::2]), q.dtype)
    return e.transpose(split, [0, 2, 1, 3])


def _split_source(node: fx.Node) -> fx.Node | None:
    """The (B, S, heads x dim) node that was viewed as heads and transposed to (B, heads, S, dim), if it was."""
    view = node.args[0] if _swaps_heads(node) else None
    if not isinstance(view, fx.Node) or str(view.target) not in _VIEWS:
        return None
    source = view.args[0]
    assert isinstance(source, fx.Node)
    before, after = shape_of(source), shape_of(view)
    same = len(before) == 3 and len(after) == 4 and before[:2] == after[:2] and before[2] == after[2] * after[3]
    return source if same else None


def _merge_after(node: fx.Node) -> fx.Node | None:
    """The (B, S, heads x dim) node made from the result by transposing back and reshaping, if that is its only use."""
    users = list(node.users)
    if len(users) != 1 or not _swaps_heads(users[0]):
        return None
    following = list(users[0].users)
    while len(following) == 1 and str(following[0].target) in ("aten.contiguous.default", "aten.clone.default"):
        following = list(following[0].users)
    if len(following) != 1 or str(following[0].target) not in _VIEWS | {"aten.flatten.using_ints"}:
        return None
    before, after = shape_of(users[0]), shape_of(following[0])
    same = len(after) == 3 and before[:2] == after[:2] and after[2] == before[2] * before[3]
    return following[0] if same else None


def _swaps_heads(node: fx.Node) -> bool:
    if str(node.target) == "aten.transpose.int":
        return {d % 4 for d in node.args[1:3]} == {1, 2}  # type: ignore[operator]
    return str(node.target) == "aten.permute.default" and list(node.args[1]) == [0, 2, 1, 3]  # type: ignore[arg-type]
