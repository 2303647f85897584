"""Materialises the weights of one network: a safetensors file in the store, in the engine's names, dtype and layout.

The graph and the weights stay apart, so that every checkpoint and every LoRA mix of an architecture shares one graph
and one engine. Tensors are fetched, transformed and written one at a time: the peak is one tensor, not one network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import torch

from compiler.exporting.export import Initializer
from compiler.exporting.weight_layout import weight_layout
from graphs.errors import CheckpointError
from graphs.plan import WeightRef
from runtime.store import Sink, Store, key_of

Tensors = Mapping[str, Callable[[], torch.Tensor]]


def materialise(
    initializers: Sequence[Initializer], tensors: Tensors, store: Store, *, recipe: str,
    sources: tuple[tuple[str, str], ...] = (),
) -> WeightRef:
    """The weight file for a table of initializers, made if the store has none.

    tensors: module key -> a function that gives the tensor (checkpoint dtype, LoRAs merged). recipe: everything that
    decides the values: content hashes of the files, LoRA strengths. sources: (kind/name, sha256), for the plan.
    Raises CheckpointError for keys that are missing or of another shape, StoreError.
    """
    missing = sorted({i.key for i in initializers if i.key not in tensors})
    if missing:
        raise CheckpointError(
            f"{len(missing)} weights are missing: {', '.join(missing[:8])}{' ...' if len(missing) > 8 else ''}",
            hint="the file is not a whole checkpoint of this architecture",
        )
    table = [[i.name, i.key, i.transform, list(i.shape), i.dtype] for i in initializers]
    layout = weight_layout(initializers)
    key = key_of("weights", layout.fingerprint, recipe, json.dumps(table))

    def make(sink: Sink) -> None:
        sink.write(layout.header)
        for initializer in initializers:
            sink.write(memoryview(_bytes_of(initializer, tensors[initializer.key]())))

    entry, _ = store.get_or_make(key, make, expected_bytes=layout.size_bytes)
    return WeightRef(entry.key, entry.sha256, entry.size_bytes, sources)


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
