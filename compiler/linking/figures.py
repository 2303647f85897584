"""What the networks of opened files make and cost, from their configs: compiler.cost.Figures.

Operations are counted by running the network on torch's meta device, where nothing is computed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from compiler.cost import TOKENS, Evaluations
from compiler.linking.casting import FindFile
from compiler.linking.specialise import ResolvedNetwork, resolve_network
from compiler.networks import NETWORKS
from graphs.dims import Dim
from graphs.program import Program, Step

# What a step makes -> what its network calls it
OUTPUTS = {"context": "context_kv", "embedding": "hidden", "pooled": "pooled", "time": "time"}


class NetworkFigures:
    """Of the networks of a program whose roles are cast."""

    def __init__(self, program: Program, find: FindFile) -> None:
        self._networks = {use.id: resolve_network(use, find) for use in program.networks.values()}

    def width(self, step: Step, kind: str) -> int:
        """Of several text encoders: side by side for the embedding, the last one's pooled vector. Texts that other
        steps make out of them are taken to be as wide."""
        networks = [self._networks[name] for name in step.networks.values()] or list(self._networks.values())
        found = [size for network in networks if (size := _width(network, OUTPUTS[kind])) is not None]
        if kind == "embedding":
            return sum(found)
        return found[-1] if found else 0

    def flop(self, calls: Evaluations) -> tuple[str, float]:
        network = self._networks[calls.network]
        family = network.architecture.family
        downscale = family.latent.downscale if family is not None else 8
        sides = (max(1, side // downscale) for side in (calls.picture.height, calls.picture.width))
        kind = network.use.kind
        return kind, calls.count * _flop(kind, network.config, *sides, calls.steps)


def _width(network: ResolvedNetwork, name: str) -> int | None:
    spec = next((spec for spec in network.definition.outputs(network.config) if spec.name == name), None)
    return None if spec is None else int(str(spec.shape[-1]))


@lru_cache(maxsize=64)
def _flop(kind: str, config: Any, height: int, width: int, steps: int) -> float:
    """Of one row. height, width: of the latent."""
    definition = NETWORKS[kind]
    sizes = {"batch": 1, "height": height, "width": width, "text": TOKENS, "steps": steps}
    with torch.device("meta"):
        module = definition.module(config)
    inputs = [
        torch.empty(
            [size.size(sizes[size.name]) if isinstance(size, Dim) else size for size in spec.shape],
            dtype=getattr(torch, spec.dtype), device="meta",
        )
        for spec in definition.inputs(config)
    ]  # fmt: skip
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return float(counter.get_total_flops())
