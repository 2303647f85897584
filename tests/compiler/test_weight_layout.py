"""Where weights lie in their file: the places in graphs have to be those that safetensors reads."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from compiler.exporting.export import Initializer
from compiler.exporting.weight_layout import weight_layout
from compiler.linking.weights import materialise
from compiler.models.weights_tree import Layer
from runtime.artifacts import StoreArtifacts
from runtime.mapped import header_fingerprint
from runtime.store import Store

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.arange(5, dtype=torch.int64),
    "c": torch.tensor([1.5, -2.0]),
}
TABLE = (
    Initializer("a^T", "a", "T", (3, 2), "float32"),
    Initializer("b", "b", "", (5,), "int64"),
    Initializer("c", "c", "", (2,), "float16"),
)


def weight_file(folder: Path) -> Path:
    tensors = {name: (lambda t=tensor: t) for name, tensor in TENSORS.items()}
    store = Store(folder)
    return StoreArtifacts(store).weights(materialise(TABLE, [Layer(tensors, "test")], store)).whole[0]


def test_the_places_hold_what_safetensors_reads_under_these_names(tmp_path: Path) -> None:
    path = weight_file(tmp_path)
    content, layout = path.read_bytes(), weight_layout(TABLE)
    assert len(content) == layout.size_bytes
    for name, tensor in load_file(path).items():
        offset, size = layout.places[name]
        assert content[offset : offset + size] == tensor.contiguous().numpy().tobytes(), name


def test_data_starts_on_a_cache_line() -> None:
    assert len(weight_layout(TABLE).header) % 64 == 0


def test_the_fingerprint_is_that_of_the_file_and_tells_other_layouts_apart(tmp_path: Path) -> None:
    layout = weight_layout(TABLE)
    assert header_fingerprint(weight_file(tmp_path)) == layout.fingerprint
    assert weight_layout(TABLE[::-1]).fingerprint != layout.fingerprint
