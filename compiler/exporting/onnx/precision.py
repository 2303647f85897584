"""Which values stay float32 when a network is emitted in a 16-bit type.

1. Values made of graph inputs alone (the timestep's sinusoid) stay float32 until they meet a weight: the emitter's
   element-wise rule.
2. What leads into a cast to integers (the 8-bit picture: clamp, scale, round) is float32, since float16 has steps of
   an eighth near 255. Found here, by walking back from the cast through element-wise nodes.
3. Softmax is computed in float32 where attention is written out; norms keep float32 statistics (stash_type 1).
"""

from __future__ import annotations

import torch
from torch import fx

_ELEMENTWISE = frozenset(
    f"aten.{name}"
    for name in (
        "add.Tensor", "add.Scalar", "sub.Tensor", "mul.Tensor", "mul.Scalar", "div.Tensor", "div.Scalar", "rsub.Scalar",
        "clamp.default", "clamp_min.default", "clamp_max.default", "round.default", "floor.default", "permute.default",
        "transpose.int", "to.dtype", "_to_copy.default", "neg.default", "contiguous.default", "clone.default",
    )
)  # fmt: skip


def float32_nodes(graph: fx.Graph) -> frozenset[fx.Node]:
    """The nodes that must be computed in float32 (rule 2)."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or value.dtype.is_floating_point or value.dtype == torch.bool:
            continue
        for source in node.all_input_nodes:
            _mark(source, found)
    return frozenset(found)


def _mark(node: fx.Node, found: set[fx.Node]) -> None:
    value = node.meta.get("val")
    floating = isinstance(value, torch.Tensor) and value.dtype.is_floating_point
    if node in found or not floating or str(node.target) not in _ELEMENTWISE:
        return
    found.add(node)
    for source in node.all_input_nodes:
        _mark(source, found)
