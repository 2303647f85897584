"""What a network is changed into while it is traced for Inductor, where kernels of our own are faster.

1. Growth to twice the size and a 3x3 convolution: one transposed convolution, its weight folded when it is loaded.
2. A group norm, and the SiLU behind it, of a tensor larger than the cache: kernels/group_norm.py. Below, Inductor's
   own is as fast or faster.
3. Attention with heads wider than 256: kernels/wide_attention.py.
4. Linear layers that share their input: inductor_stacks.py.
Each gives the network's values up to rounding. Figures: docs/adr/0050-inductor-engines.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import fx
from torch.export import ExportedProgram

from runtime.backends.inductor_stacks import Share
from runtime.backends.kernels.upsample import grown_conv
from runtime.backends.kernels.wide_attention import wide_attention

_CACHE_BYTES = 48 << 20  # an H100 has 50 MiB
_WIDEST_HEAD = 256
_GROWTH = "aten.upsample_nearest2d.vec"


def grown_convolutions(program: ExportedProgram, sizes: Mapping[str, int]) -> dict[str, fx.Node]:
    """Weight argument -> the convolution that rule 1 replaces. sizes: of the symbols in the program's shapes."""
    found: dict[str, fx.Node] = {}
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten.conv2d.default):
        grown, weight = node.args[0], node.args[1]
        alone = str(grown.target) == _GROWTH and len(grown.users) == 1 and len(weight.users) == 1
        if not alone or not _plain(node):
            continue
        before, after = (_sizes(n.meta["val"].shape[2:], sizes) for n in (grown.args[0], grown))
        if after == [2 * n for n in before]:
            found[weight.name] = node
    return found


def _plain(node: Any) -> bool:
    """Whether a convolution is 3x3 with stride 1, padding 1 and no groups."""
    defaults: tuple[Any, ...] = (None, [1, 1], [0, 0], [1, 1], 1)
    given = tuple(node.args[2:])
    _, stride, padding, dilation, groups = (*given, *defaults[len(given) :])
    ones = all(tuple(pair) == (1, 1) for pair in (stride, padding, dilation))
    return ones and groups == 1 and tuple(node.args[1].meta["val"].shape[2:]) == (3, 3)


def _sizes(shape: Sequence[Any], sizes: Mapping[str, int]) -> list[int]:
    """Numbers behind the symbols of a traced shape."""
    numbers = []
    for size in shape:
        if isinstance(size, int):
            numbers.append(size)
        else:
            expression = size.node.expr
            known = {s: sizes[str(s)] for s in expression.free_symbols}
            numbers.append(int(expression.xreplace(known)))
    return numbers


class Rewriting(fx.Interpreter):
    """Runs a program, with other operators in the places that the rules name.

    folded: the weight arguments that are given folded, for rule 1. shares: those that are given stacked, for rule 4."""

    def __init__(self, module: fx.GraphModule, folded: Collection[str], shares: Mapping[str, Share]) -> None:
        super().__init__(module)
        self._folded, self._shares = folded, shares
        self._stacks: dict[str, Any] = {}  # argument of a stacked weight -> what its layers together give
        self._done: set[Any] = set()  # nodes whose work an earlier one has done

    def run_node(self, n: Any) -> Any:
        if n in self._done:
            return self.map_nodes_to_values(n.args[0], n)
        rewritten = self._RULES.get(str(n.target))
        result = rewritten(self, n) if rewritten is not None else None
        return result if result is not None else super().run_node(n)

    def _grown(self, node: Any) -> Any:
        """The growth is not done where the convolution behind it does it."""
        (user, *_) = node.users
        if str(user.target) == "aten.conv2d.default" and user.args[1].name in self._folded:
            return self.map_nodes_to_values(node.args[0], node)
        return None

    def _convolution(self, node: Any) -> Any:
        if node.args[1].name not in self._folded:
            return None
        values: Any = self.map_nodes_to_values(node.args[:3], node)
        x, weight, *bias = values
        return grown_conv(x, weight, bias[0] if bias else None)

    def _group_norm(self, node: Any) -> Any:
        values: Any = self.map_nodes_to_values(node.args, node)
        x, groups, weight, bias, eps, *_ = values
        fixed = x.dim() == 4 and all(isinstance(n, int) for n in x.shape)
        if not fixed or weight is None or x.numel() * x.element_size() <= _CACHE_BYTES:
            return None
        from runtime.backends.kernels.group_norm import group_norm

        users = list(node.users)
        silu = len(users) == 1 and str(users[0].target) == "aten.silu.default"
        if silu:
            self._done.add(users[0])
        return group_norm(x, weight, bias, groups, eps, silu)

    def _attention(self, node: Any) -> Any:
        values: Any = self.map_nodes_to_values(node.args, node)
        q, k, v, *options = values
        if options or node.kwargs or q.shape[-1] <= _WIDEST_HEAD:
            return None
        return wide_attention(q, k, v)

    def _linear(self, node: Any) -> Any:
        share = self._shares.get(node.args[1].name)
        if share is None:
            return None
        if share.first not in self._stacks:
            weight = next(value for held, value in self.env.items() if held.name == share.first)
            x: Any = self.map_nodes_to_values(node.args[0], node)
            self._stacks[share.first] = torch.nn.functional.linear(x, weight)
        return self._stacks[share.first].narrow(-1, share.start, share.rows)

    _RULES: ClassVar[Mapping[str, Any]] = {
        _GROWTH: _grown,
        "aten.conv2d.default": _convolution,
        "aten.linear.default": _linear,
        "aten.group_norm.default": _group_norm,
        "aten.scaled_dot_product_attention.default": _attention,
    }
