"""What an emission passes around: tensors of the ONNX graph, and what a traced node says of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

Shape = tuple[Any, ...]  # ints and sympy expressions


@dataclass(frozen=True)
class Value:
    """A tensor of the ONNX graph. shape: ints, and sympy expressions where dynamic. weight: its slot's key, if any."""

    name: str
    dtype: str
    shape: Shape
    weight: str | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def shape_of(node: fx.Node) -> Shape:
    """The traced shape of a node that yields one tensor."""
    return tuple(d if isinstance(d, int) else d.node.expr for d in node.meta["val"].shape)


def module_path(node: fx.Node) -> str:
    """Where in the module tree a node comes from: "middle_block.1.norm"."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = str(next(reversed(stack.values()))[0])
    return path.removeprefix("L['self'].").removeprefix("L__self__.").replace("L__self__", "")


FLOATS = frozenset({"float32", "float16", "bfloat16"})
# Nodes that compute nothing.
ASSERTIONS = frozenset(
    {
        torch.ops.aten._assert_tensor_metadata.default,
        torch.ops.aten._assert_scalar.default,
        torch.ops.aten._assert_async.msg,
        torch.ops.aten.sym_constrain_range_for_size.default,
        torch.ops.aten.sym_constrain_range.default,
    }
)
