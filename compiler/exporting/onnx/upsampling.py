"""A 3x3 convolution behind a nearest upsampling by two, as four convolutions of 2x2 before it.

Each output pixel sees 3x3 pixels of the upsampled picture, which are copies of 2x2 pixels of the small one: which of
them, and how many copies of each, depends only on whether its row and its column are even or odd. So four convolutions
of the small picture, whose weights are sums of the 3x3 ones, give the four kinds of output pixels, at 4/9 of the
multiplications. The result differs by the order of additions.
"""

from __future__ import annotations

from torch import fx

from compiler.exporting.onnx.emitter import Emitter
from compiler.exporting.onnx.values import Value, shape_of

_CONVOLUTIONS = ("aten.conv2d.default", "aten.convolution.default")
_EVEN_ODD = (0, 1)


def convolution_after(e: Emitter, node: fx.Node) -> fx.Node | None:
    """The 3x3 convolution that is the only user of an upsampling, if the two can be written as four of 2x2."""
    users = list(node.users)
    if not e.dialect.split_upsampling or len(users) != 1 or str(users[0].target) not in _CONVOLUTIONS:
        return None
    a = e.arguments(users[0])
    if a["input"] is not node or not e.is_weight(a["weight"]) or not e.is_weight(a.get("bias")):
        return None
    plain = [*a["stride"], *a["padding"], *a["dilation"], a["groups"]] == [1] * 7 and not a.get("transposed")
    return users[0] if plain and shape_of(a["weight"])[2:] == (3, 3) else None


def split_convolution(e: Emitter, x: Value, node: fx.Node) -> Value:
    """x: (B, C, h, w), before the upsampling -> (B, O, 2h, 2w), what the convolution `node` gives behind it."""
    a = e.arguments(node)
    x, weight, bias = e.to_compute(x), e.value(a["weight"]), e.value(a["bias"])
    batch, _, height, width = x.shape
    out = int(weight.shape[0])
    rows = []
    for odd_column in _EVEN_ODD:
        parts = []
        for odd_row in _EVEN_ODD:
            kernel = _summed(e, _summed(e, weight, 2, odd_row), 3, odd_column)
            pads = [1 - odd_row, 1 - odd_column, odd_row, odd_column]
            shape = (batch, out, height, width)
            parts.append(e.emit("Conv", [x, kernel, bias], shape, x.dtype, kernel_shape=[2, 2], pads=pads))
        tall = _interleaved(e, parts, 3, (batch, out, height, 2, width))
        target = e.emit("Concat", [e.ints([0, 0, -1]), e.dim(width)], (4,), "int64", axis=0).name
        rows.append(e.emit("Reshape", [tall, target], (batch, out, 2 * height, width), x.dtype))
    wide = _interleaved(e, rows, 4, (batch, out, 2 * height, width, 2))
    return e.emit("Reshape", [wide, e.ints([0, 0, 0, -1])], shape_of(node), x.dtype)


def _summed(e: Emitter, weight: Value, axis: int, odd: int) -> Value:
    """Three taps of an axis as two. Even pixels: the tap before, and the other two; odd ones: two, and the last."""
    first, middle, last = (_tap(e, weight, axis, i) for i in range(3))
    both = e.emit("Add", [first, middle] if odd else [middle, last], first.shape, weight.dtype)
    shape = tuple(2 if i == axis else d for i, d in enumerate(weight.shape))
    return e.emit("Concat", [both, last] if odd else [first, both], shape, weight.dtype, axis=axis)


def _tap(e: Emitter, weight: Value, axis: int, index: int) -> Value:
    shape = tuple(1 if i == axis else d for i, d in enumerate(weight.shape))
    bounds = [e.ints([index]), e.ints([index + 1]), e.ints([axis])]
    return e.emit("Slice", [weight, *bounds], shape, weight.dtype)


def _interleaved(e: Emitter, parts: list[Value], axis: int, shape: tuple[object, ...]) -> Value:
    """The parts on a new axis."""
    thin = tuple(1 if i == axis else d for i, d in enumerate(shape))
    single = [e.emit("Unsqueeze", [p, e.ints([axis])], thin, p.dtype) for p in parts]
    return e.emit("Concat", single, shape, parts[0].dtype, axis=axis)
