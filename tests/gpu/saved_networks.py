"""Narrow networks with random weights, exported for the torch backends."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save_file

from compiler.exporting.export import EXPORTED_PROGRAM, emit
from compiler.networks import NETWORKS
from compiler.networks.network import Config
from graphs.dims import size_of
from runtime.backends.backend import NetworkModel, TensorSpec
from tests.shared_exports import traced


def saved(kind: str, config: Config, precision: str, path: Path, seed: int = 0) -> NetworkModel:
    """The network as the torch backends build from it, with a weight file at `path`."""
    definition = NETWORKS[kind]
    inputs, outputs = definition.inputs(config), definition.outputs(config)
    exported = emit(traced(kind, config), EXPORTED_PROGRAM, inputs, outputs, precision)
    save_file(
        {i.name: drawn(i.name, i.shape, seed).to(getattr(torch, i.dtype)) for i in exported.initializers}, path
    )
    return NetworkModel(kind, exported.graph, inputs, outputs, (path,))


def drawn(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + len(name) * 1000 + sum(name.encode()))
    values = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        return 1 + 0.1 * values if name.endswith("weight") else 0.02 * values
    return values / math.sqrt(math.prod(shape[1:]))


def example(inputs: tuple[TensorSpec, ...], sizes: dict[str, int]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {s.name: torch.randn([size_of(d, sizes) for d in s.shape], generator=generator) for s in inputs}
