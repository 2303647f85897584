"""Materialises the weights of one network: safetensors files in the store, in the engine's names, dtype and layout.

The graph and the weights stay apart, so that every checkpoint and every LoRA mix of an architecture shares one graph
and one engine. Every mix of a checkpoint shares the base file; on top come a file of the tensors that a merge changed,
and a file of factors for each LoRA, whatever its strength. Tensors are fetched, transformed and written one at a time:
the peak is one tensor, not one network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from compiler.exporting.export import Initializer
from compiler.exporting.weight_layout import weight_layout
from compiler.models.lora import Loader, fitting
from compiler.models.weights_tree import Layer, LoraFile
from graphs.errors import CheckpointError
from graphs.plan import WeightLayer, WeightRef
from runtime.factors import FORMAT, Factors, write_factors
from runtime.store import Sink, Store, key_of
from runtime.tensor_header import bytes_of

_EIGHT_BITS = frozenset({torch.float8_e4m3fn, torch.float8_e5m2})


def materialise(
    initializers: Sequence[Initializer], layers: Sequence[Layer], store: Store,
    sources: tuple[tuple[str, str], ...] = (),
) -> WeightRef:  # fmt: skip
    """The weight files for a table of initializers, each made if the store has none.

    layers: as compiler.models.weights_tree gives them; what changes nothing of this network leaves no file. sources:
    (kind/name, sha256), for the plan. Raises CheckpointError for keys that are missing or of another shape, StoreError.
    """
    base = layers[0]
    missing = sorted({i.key for i in initializers if i.key not in base.tensors})
    if missing:
        raise CheckpointError(
            f"{len(missing)} weights are missing: {', '.join(missing[:8])}{' ...' if len(missing) > 8 else ''}",
            hint="the file is not a whole checkpoint of this architecture",
        )
    parts = [_Split.of(initializer, layers) for initializer in initializers]
    files = [_whole_file(initializers, base.tensors, base.recipe, store)]
    if top := max(part.whole for part in parts):
        replaced = [part for part in parts if part.whole]
        tensors = {part.initializer.key: layers[part.whole].tensors[part.initializer.key] for part in replaced}
        files.append(_whole_file([part.initializer for part in replaced], tensors, layers[top].recipe, store))
    for number, layer in enumerate(layers):
        changed = [part.initializer for part in parts if number in part.factors]
        if layer.lora is not None and changed:
            files.append(_factor_file(changed, layer.lora, store))
    return WeightRef(tuple(files), sources)


@dataclass(frozen=True)
class _Split:
    """How one weight is stored. whole: number of the layer whose tensor is. factors: of those on top of it."""

    initializer: Initializer
    whole: int
    factors: frozenset[int]

    @classmethod
    def of(cls, initializer: Initializer, layers: Sequence[Layer]) -> _Split:
        """Factors follow a tensor that is stored as exactly as they need it, in float32; else the last tensor is stored
        whole."""
        having = [number for number, layer in enumerate(layers) if initializer.key in layer.tensors]
        whole = max(number for number in having if layers[number].lora is None)
        on_top = frozenset(number for number in having if number > whole)
        if on_top and not _is_exact(layers[whole].tensors[initializer.key], whole, initializer):
            return cls(initializer, max(on_top), frozenset())
        return cls(initializer, whole, on_top)


def _is_exact(load: Loader, layer: int, initializer: Initializer) -> bool:
    """Whether the tensor in the engine's dtype is what a merge of it would begin with."""
    wanted = getattr(torch, initializer.dtype)
    if wanted == torch.float32:
        return True
    have = load().dtype if layer == 0 else torch.float32  # a view of the base file; merging costs
    return have == wanted or have in _EIGHT_BITS


def _factor_file(initializers: Sequence[Initializer], lora: LoraFile, store: Store) -> WeightLayer:
    """What one LoRA file changes these initializers by, at whatever strength."""
    table = [[i.name, i.transform, list(i.shape), [g.keys for g in lora.groups[i.key]]] for i in initializers]

    def make(sink: Sink) -> None:
        write_factors((f for i in initializers for f in _factors(i, lora)), sink.write)

    entry, _ = store.get_or_make(key_of("factors", FORMAT, lora.sha256, json.dumps(table)), make)
    return WeightLayer(entry.key, entry.sha256, entry.size_bytes, lora.strength)


def _factors(initializer: Initializer, lora: LoraFile) -> list[Factors]:
    turned = initializer.transform == "T"
    shape = initializer.shape[::-1] if turned else initializer.shape
    groups = lora.groups[initializer.key]
    return [Factors(initializer.name, turned, fitting(group, shape, initializer.key)) for group in groups]


def _whole_file(
    initializers: Sequence[Initializer], tensors: Mapping[str, Loader], recipe: str, store: Store
) -> WeightLayer:
    table = [[i.name, i.key, i.transform, list(i.shape), i.dtype] for i in initializers]
    layout = weight_layout(initializers)
    key = key_of("weights", layout.fingerprint, recipe, json.dumps(table))

    def make(sink: Sink) -> None:
        sink.write(layout.header)
        for initializer in initializers:
            sink.write(bytes_of(_laid_out(initializer, tensors[initializer.key]())))

    entry, _ = store.get_or_make(key, make, expected_bytes=layout.size_bytes)
    return WeightLayer(entry.key, entry.sha256, entry.size_bytes)


def _laid_out(initializer: Initializer, tensor: torch.Tensor) -> torch.Tensor:
    """In the initializer's layout and dtype."""
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
    return tensor.to(dtype)
