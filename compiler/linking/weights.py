"""Materialises the weights of one network: safetensors files in the store, in the engine's names, dtype and layout.

The graph and the weights stay apart, so that every checkpoint and every LoRA mix of an architecture shares one graph
and one engine. A mix is a file of its own with the changed tensors alone, on top of the base file, which every mix of a
checkpoint shares. Tensors are fetched, transformed and written one at a time: the peak is one tensor, not one network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from compiler.exporting.export import Initializer
from compiler.exporting.weight_layout import weight_layout
from graphs.errors import CheckpointError
from graphs.plan import WeightLayer, WeightRef
from runtime.store import Sink, Store, key_of

Tensors = Mapping[str, Callable[[], torch.Tensor]]


@dataclass(frozen=True)
class Layer:
    """tensors: module key -> a function that gives the tensor. recipe: everything that decides the values: content
    hashes of the files, LoRA strengths."""

    tensors: Tensors
    recipe: str


def materialise(
    initializers: Sequence[Initializer], base: Layer, mix: Layer | None, store: Store,
    sources: tuple[tuple[str, str], ...] = (),
) -> WeightRef:  # fmt: skip
    """The weight files for a table of initializers, each made if the store has none.

    base: every tensor of the base file, in the checkpoint's dtype. mix: those that LoRAs or merges changed, of which
    the file holds nothing else; none is written where they change nothing of this network. sources: (kind/name,
    sha256), for the plan. Raises CheckpointError for keys that are missing or of another shape, StoreError.
    """
    missing = sorted({i.key for i in initializers if i.key not in base.tensors})
    if missing:
        raise CheckpointError(
            f"{len(missing)} weights are missing: {', '.join(missing[:8])}{' ...' if len(missing) > 8 else ''}",
            hint="the file is not a whole checkpoint of this architecture",
        )
    layers = [_file(initializers, base, store)]
    changed = [i for i in initializers if mix is not None and i.key in mix.tensors]
    if mix is not None and changed:
        layers.append(_file(changed, mix, store))
    return WeightRef(tuple(layers), sources)


def _file(initializers: Sequence[Initializer], layer: Layer, store: Store) -> WeightLayer:
    """A file of these initializers."""
    table = [[i.name, i.key, i.transform, list(i.shape), i.dtype] for i in initializers]
    layout = weight_layout(initializers)
    key = key_of("weights", layout.fingerprint, layer.recipe, json.dumps(table))

    def make(sink: Sink) -> None:
        sink.write(layout.header)
        for initializer in initializers:
            sink.write(memoryview(_bytes_of(initializer, layer.tensors[initializer.key]())))

    entry, _ = store.get_or_make(key, make, expected_bytes=layout.size_bytes)
    return WeightLayer(entry.key, entry.sha256, entry.size_bytes)


def _bytes_of(initializer: Initializer, tensor: torch.Tensor) -> memoryview:
    """The tensor in the initializer's layout and dtype, as bytes."""
    if initializer.transform == "T":
        tensor = tensor.t()
    if tuple(tensor.shape) != initializer.shape:
        raise CheckpointError(
            "a weight has another shape than the network", where=initializer.key,
            expected=str(initializer.shape), got=str(tuple(tensor.shape)),
        )
    dtype = getattr(torch, initializer.dtype)
    if tensor.is_floating_point() and not dtype.is_floating_point:
        got = str(tensor.dtype)
        raise CheckpointError("a weight is not integral", where=initializer.key, expected=initializer.dtype, got=got)
    ready = tensor.detach().to(device="cpu", dtype=dtype).contiguous()
    return memoryview(ready.reshape(-1).view(torch.uint8).numpy().data)
