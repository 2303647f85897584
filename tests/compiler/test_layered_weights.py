"""Layers of factors, multiplied out when weights are loaded: bit for bit what a whole merge would have written."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.synthetic import NARROW_CLIP, narrow_unet, write_checkpoint, write_lora
from compiler.exporting.export import Initializer
from compiler.linking.weights import materialise
from compiler.models.lora import merger
from compiler.models.lora_kinds import Group, role_of, split
from compiler.models.model_file import open_model_file
from compiler.models.weights_tree import Layer, LoraFile, layered, merged
from graphs.errors import CheckpointError
from graphs.plan import WeightRef
from graphs.values import Lora, Merge, ModelFile, Weights
from runtime.artifacts import StoreArtifacts
from runtime.store import Store
from tests.compiler.adapter_files import Draw, adapter, kinds_for
from tests.compiler.eager_networks import by_path, recipe_of

STRENGTHS = (0.5, -1.0, 1.7)
SHAPES = ((96, 160), (8, 12), (12, 8), (16, 16), (8, 10, 3, 3), (12, 8, 1, 1), (8,))
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def base_layer(tensors: dict[str, Tensor]) -> Layer:
    return Layer({key: partial(tensor.view, tensor.shape) for key, tensor in tensors.items()}, "base")


def lora_layer(path: Path, strength: float, below: Sequence[Layer]) -> Layer:
    """A LoRA file whose modules have the names of the weights."""
    tensors, keys = open_model_file(path), dict[str, dict[str, str]]()
    for key in tensors:
        module, role = role_of(key) or ("", "")
        keys.setdefault(module, {})[role] = key
    groups = {
        f"{name}.{what}": (group,)
        for name, of in keys.items()
        for what, group in split(Group(tensors, name, of)).items()
    }
    before = {key: load for layer in below for key, load in layer.tensors.items()}
    changed = {key: merger(before[key], of, strength, key) for key, of in groups.items()}
    return Layer(changed, f"{below[-1].recipe}+{path.name}@{strength}", LoraFile(groups, strength, path.name))


def initializer(key: str, tensor: Tensor, transform: str, dtype: torch.dtype) -> Initializer:
    shape = tuple(tensor.t().shape if transform else tensor.shape)
    return Initializer(f"W {key}", key, transform, shape, str(dtype).removeprefix("torch."))


def expected(table: Sequence[Initializer], layers: Sequence[Layer]) -> dict[str, Tensor]:
    """What a merge of whole tensors gives."""
    last = {key: load for layer in layers for key, load in layer.tensors.items()}
    found = {i.name: (last[i.key]().t() if i.transform else last[i.key]()).to(getattr(torch, i.dtype)) for i in table}
    return {name: tensor.contiguous() for name, tensor in found.items()}


def loaded(weights: WeightRef, store: Store) -> dict[str, Tensor]:
    with StoreArtifacts(store).weights(weights) as opened:
        return {name: tensor.clone() for name, tensor in opened.tensors("cpu").items()}


def same_bits(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (got[name].dtype, got[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(got[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)), name


@st.composite
def mixes(draw: st.DrawFn) -> tuple[dict[str, Tensor], list[dict[str, Tensor]], list[float], torch.dtype, list[str]]:
    """Base tensors, the tensors of up to three LoRA files, their strengths, the engine's dtype, transforms."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4))
    stored = draw(st.sampled_from(DTYPES))
    names = [f"m{n}.{'weight' if len(shape) > 1 else 'bias'}" for n, shape in enumerate(shapes)]
    base = {n: torch.randn(s, generator=generator).to(stored) for n, s in zip(names, shapes, strict=True)}
    turned = ["T" if len(s) == 2 and draw(st.booleans()) else "" for s in shapes]
    files = []
    for _ in range(draw(st.integers(1, 3))):
        file: dict[str, Tensor] = {}
        for name, shape in zip(names, shapes, strict=True):
            kind = draw(st.sampled_from(kinds_for(shape)))
            make = Draw(generator, draw(st.sampled_from(DTYPES)))
            tensors = adapter(kind, shape, draw(st.integers(1, 5)), make)
            file |= {f"{name.rpartition('.')[0]}.{ending}": t for ending, t in tensors.items()}
        files.append(file)
    strengths = [draw(st.sampled_from(STRENGTHS)) for _ in files]
    return base, files, strengths, draw(st.sampled_from(DTYPES)), turned


@settings(max_examples=80, deadline=None)
@given(mixes())
def test_every_kind_shape_and_stack_has_the_bits_of_a_whole_merge(
    mix: tuple[dict[str, Tensor], list[dict[str, Tensor]], list[float], torch.dtype, list[str]],
) -> None:
    base, files, strengths, dtype, turned = mix
    with tempfile.TemporaryDirectory() as folder:
        layers = [base_layer(base)]
        for number, (file, strength) in enumerate(zip(files, strengths, strict=True)):
            path = Path(folder) / f"{number}.safetensors"
            save_file(file, path)
            layers.append(lora_layer(path, strength, layers))
        table = [initializer(key, base[key], turn, dtype) for key, turn in zip(base, turned, strict=True)]
        store = Store(Path(folder) / "store")
        weights = materialise(table, layers, store)
        has_factors = dtype in (torch.float32, next(iter(base.values())).dtype)
        assert [layer.strength for layer in weights.layers[1:]] == (strengths if has_factors else [None])
        same_bits(loaded(weights, store), expected(table, layers))
        assert not list((store.root / "temp").iterdir())


# --- whole files of a checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    for seed, name in enumerate(("base", "other")):
        write_checkpoint(folder / f"{name}.safetensors", seed=seed)
    for seed, name in enumerate(("one", "two")):
        write_lora(folder / f"{name}.safetensors", unet=narrow_unet(), texts={"clip_l": NARROW_CLIP}, seed=seed)
    return folder


def table_of(weights: Weights, part: str) -> list[Initializer]:
    """Every tensor of a part as an engine might have it: matrices transposed."""
    tensors = {key: load() for key, load in merged(weights, part, by_path).items()}
    return [initializer(k, t, "T" if t.dim() == 2 else "", torch.float32) for k, t in tensors.items()]


def materialised(weights: Weights, part: str, store: Store) -> WeightRef:
    return materialise(table_of(weights, part), layered(weights, part, by_path), store)


@pytest.mark.parametrize("part", ["unet", "clip_l"])
def test_mixes_of_a_checkpoint_share_the_base_and_the_factors_at_every_strength(
    folder: Path, part: str, tmp_path: Path
) -> None:
    store, one, two = Store(tmp_path), folder / "one.safetensors", folder / "two.safetensors"
    seen = set()
    for strength in STRENGTHS:
        tree = recipe_of(folder / "base.safetensors", (one, strength), (two, 0.25))
        weights = materialised(tree, part, store)
        same_bits(loaded(weights, store), expected(table_of(tree, part), layered(tree, part, by_path)))
        assert [layer.strength for layer in weights.layers] == [None, strength, 0.25]
        seen |= {layer.key for layer in weights.layers}
    assert len(seen) == 3
    files = sum(path.stat().st_size for path in (one, two))
    assert 0 < sum(layer.size_bytes for layer in weights.layers[1:]) < files


def test_a_merge_is_stored_whole_and_a_lora_on_it_as_factors(folder: Path, tmp_path: Path) -> None:
    a, b = (ModelFile("checkpoints", str(folder / f"{name}.safetensors")) for name in ("base", "other"))
    file, store = ModelFile("loras", str(folder / "one.safetensors")), Store(tmp_path)
    merge = Merge(a, b, (("", 1.0, 0.0), ("middle_block.", 0.5, 0.5)))
    trees: dict[str, tuple[Weights, list[float | None]]] = {
        "on the merge": (Lora(merge, file, 0.5), [None, None, 0.5]),
        "below it": (Merge(Lora(a, file, 0.5), b, merge.shares), [None, None, 0.5]),
        "below a whole one": (Merge(Lora(a, file, 0.5), b, (("", 0.5, 0.5),)), [None, None]),
    }
    for tree, strengths in trees.values():
        weights = materialised(tree, "unet", store)
        assert [layer.strength for layer in weights.layers] == strengths
        same_bits(loaded(weights, store), expected(table_of(tree, "unet"), layered(tree, "unet", by_path)))


def test_a_lora_that_does_not_fit_is_told_before_anything_is_stored(folder: Path, tmp_path: Path) -> None:
    write_lora(tmp_path / "wide.safetensors", unet=narrow_unet(64))
    tree = recipe_of(folder / "base.safetensors", (tmp_path / "wide.safetensors", 1.0))
    store = Store(tmp_path / "store")
    with pytest.raises(CheckpointError, match="a LoRA does not fit the checkpoint"):
        materialised(tree, "unet", store)
    assert not [entry for entry in store.ls() if entry.key.startswith("factors")]
