"""Linear layers without bias that share their input (queries, keys and values) are computed as one.

Their weights stand one behind the other in one tensor: the place of each is a slice of it, so that another checkpoint
or a LoRA is copied into it as into any other. One product of three times the width fills a GPU better than three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx
from torch.export import ExportedProgram

from runtime.backends.saved_programs import named_arguments


@dataclass(frozen=True)
class Share:
    """The rows of a stacked weight that one layer has. first: the argument that holds the stack, that of the first
    layer; the arguments of the others hold nothing."""

    first: str
    start: int
    rows: int


def stacked(program: ExportedProgram) -> dict[str, Share]:
    """Weight argument -> its share, of all layers that are computed with others, in the program's order."""
    weights = named_arguments(program)
    groups: dict[fx.Node, list[fx.Node]] = {}
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default):
        x, weight, *bias = node.args
        if not any(bias) and weight.name in weights and len(weight.users) == 1:
            groups.setdefault(x, []).append(weight)
    shares: dict[str, Share] = {}
    for group in groups.values():
        start = 0
        for weight in group if len(group) > 1 else ():
            rows = int(weight.meta["val"].shape[0])
            shares[weight.name] = Share(group[0].name, start, rows)
            start += rows
    return shares


def parts(shares: Mapping[str, Share], names: Mapping[str, str]) -> dict[str, tuple[tuple[str, int], ...]]:
    """Argument that holds a stack -> the weights in it with their rows. names: argument -> weight."""
    found: dict[str, tuple[tuple[str, int], ...]] = {}
    for argument, share in shares.items():
        found[share.first] = (*found.get(share.first, ()), (names[argument], share.rows))
    return found
