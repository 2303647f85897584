"""Weights in layers at load time: hostile files of factors, and who shares what is multiplied out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graphs.errors import PlanError, StoreError
from graphs.plan import EngineRef, NetworkBinding, WeightLayer, WeightRef
from runtime.adapters import Adapter
from runtime.backends.backend import LoadSpec, Module
from runtime.engines import Engines
from runtime.factors import Factors, write_factors
from runtime.network_weights import LayerFile, NetworkWeights
from runtime.scratch import make_scratch
from runtime.store import Store
from tests.runtime.fake_backend import FakeBackend
from tests.runtime.op_context import FunctionModule

BASE = {"W": torch.arange(12.0).reshape(3, 4), "b": torch.zeros(3), "conv": torch.zeros(4, 4, 3, 3)}
UP, DOWN = torch.ones(3, 2), torch.ones(2, 4)


def factor_file(path: Path, parts: Mapping[str, Tensor], weight: str = "W", transposed: bool = False) -> Path:
    with path.open("wb") as file:
        write_factors([Factors(weight, transposed, Adapter(parts))], file.write)
    return path


def opened(folder: Path, *factors: Path, strength: float = 1.0) -> NetworkWeights:
    save_file(BASE, folder / "base")
    layers = [LayerFile(folder / "base"), *(LayerFile(path, strength) for path in factors)]
    return NetworkWeights(layers, partial(make_scratch, folder / "store"))


def test_what_is_multiplied_out_lies_in_one_file_until_it_is_closed(tmp_path: Path) -> None:
    with opened(tmp_path, factor_file(tmp_path / "f", {"up": UP, "down": DOWN}), strength=0.5) as weights:
        files = weights.files()
        assert weights.files() == files
        assert load_file(files[1]).keys() == {"W"}
        assert weights.multiplied_bytes == 48
        assert torch.equal(weights.tensors("cpu")["W"], BASE["W"] + 0.5 * (UP @ DOWN))
        assert torch.equal(weights.tensors("cpu")["conv"], BASE["conv"])
    assert not files[1].exists()


def test_on_another_device_each_is_made_when_it_is_asked_for(tmp_path: Path) -> None:
    weights = opened(tmp_path, factor_file(tmp_path / "f", {"up": UP, "down": DOWN}))
    found = weights.tensors("meta")
    assert (found["W"].device.type, found["W"].shape, found["b"].device.type) == ("meta", (3, 4), "cpu")
    assert list(found) == list(BASE)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("weight", "parts", "transposed"),
    [
        ("W", {"up": torch.ones(200_000, 1), "down": torch.ones(1, 200_000)}, False),  # 160 GB
        ("W", {"up": torch.ones(3, 2), "down": torch.ones(3, 4)}, False),
        ("W", {"up": torch.ones(3), "down": DOWN}, False),
        ("W", {"up": torch.ones(3, 0), "down": torch.ones(0, 4), "alpha": torch.ones(())}, False),
        ("W", {"up": UP, "down": DOWN, "alpha": torch.ones(2)}, False),
        ("W", {"up": UP, "down": DOWN, "dora_scale": torch.ones(())}, False),
        ("W", {"up": UP, "down": DOWN, "dora_scale": torch.ones(3, 9)}, False),
        ("W", {"hada_w1_a": torch.ones(90_000, 1), "hada_w1_b": torch.ones(1, 90_000),
               "hada_w2_a": torch.ones(90_000, 1), "hada_w2_b": torch.ones(1, 90_000)}, False),
        ("W", {"lokr_w1": torch.ones(900, 900), "lokr_w2": torch.ones(900, 900)}, False),
        ("W", {"oft_blocks": torch.ones(5, 5, 5)}, False),
        ("W", {"diff": torch.ones(5)}, False),
        ("conv", {"up": torch.ones(4, 1, 1, 1), "down": torch.ones(1, 4, 3, 3)}, True),
        ("nothing", {"up": UP, "down": DOWN}, False),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_one_error_and_nothing_is_computed(
    weight: str, parts: Mapping[str, Tensor], transposed: bool, tmp_path: Path
) -> None:
    weights = opened(tmp_path, factor_file(tmp_path / "f", parts, weight, transposed))
    with pytest.raises(PlanError, match="factors"):
        weights.files()
    assert not (tmp_path / "store").exists()


def test_factors_of_whole_numbers_are_refused(tmp_path: Path) -> None:
    save_file({"W": torch.arange(12).reshape(3, 4)}, tmp_path / "base")
    factors = factor_file(tmp_path / "f", {"up": UP, "down": DOWN})
    with pytest.raises(PlanError, match="factors do not fit"):
        NetworkWeights([LayerFile(tmp_path / "base"), LayerFile(factors, 1.0)]).files()


GOOD = {"weight": "W", "transposed": False, "roles": ["up", "down"]}


@pytest.mark.parametrize(
    "listed",
    ["no JSON", "[" * 100_000, "3", "[3]", "[{}]", json.dumps([{**GOOD, "weight": 3}]),
     json.dumps([{**GOOD, "roles": ["up"]}]), json.dumps([{**GOOD, "roles": "up"}]),
     json.dumps([{**GOOD, "roles": ["up", "down", "more"]}]),
     json.dumps([GOOD, GOOD]), json.dumps([{**GOOD, "transposed": 1}])],
)  # fmt: skip
def test_what_is_no_list_of_adapters_is_one_error(listed: str, tmp_path: Path) -> None:
    save_file({"0.up": UP, "0.down": DOWN}, tmp_path / "f", {"adapters": listed})
    with pytest.raises(PlanError, match="the file of factors cannot be read"):
        opened(tmp_path, tmp_path / "f").files()


def test_cut_gone_and_strange_files_are_one_error(tmp_path: Path) -> None:
    path = factor_file(tmp_path / "f", {"up": UP, "down": DOWN})
    whole = path.read_bytes()
    for content in (whole[:-8], b"", b"\xff" * 64, (tmp_path / "f").read_bytes()[:20]):
        path.write_bytes(content)
        with pytest.raises(PlanError, match="cannot be read"):
            opened(tmp_path, path).files()
    save_file({"0.up": UP}, path)
    with pytest.raises(PlanError, match="cannot be read"):
        opened(tmp_path, path).files()
    path.unlink()
    with pytest.raises(PlanError, match="gone"):
        opened(tmp_path, path).files()


def test_a_disk_that_fills_up_while_writing_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = opened(tmp_path, factor_file(tmp_path / "f", {"up": UP, "down": DOWN}))

    def full(*_: Any) -> Tensor:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "multiplied", full)
    with pytest.raises(StoreError, match="the disk of the store is full"):
        weights.files()
    assert not list((tmp_path / "store/temp").iterdir())


# --- in the pool


class Mapper(FakeBackend):
    fails = False

    def load(self, engine: Path, weights: NetworkWeights, spec: LoadSpec) -> Module:
        self.files = weights.files()
        if self.fails:
            raise PlanError("no such luck")
        found = weights.tensors("cpu")["W"]
        return FunctionModule(lambda _: {"W": found})


class Artifacts:
    def __init__(self, folder: Path, factors: Path) -> None:
        self._folder, self._factors = folder, factors

    def engine_path(self, engine: EngineRef) -> Path:
        return self._folder / engine.key

    def weights(self, weights: WeightRef) -> NetworkWeights:
        strengths = [layer.strength for layer in weights.layers[1:]]
        return opened(self._folder, *[self._factors] * len(strengths), strength=strengths[0] or 0.0)


def test_runs_and_plans_share_one_copy_by_strength(tmp_path: Path) -> None:
    factors, backend = factor_file(tmp_path / "f", {"up": UP, "down": DOWN}), Mapper()
    engines = Engines(Artifacts(tmp_path, factors), lambda _: backend)
    engine = EngineRef("unet", "sha", 4, "fake", "fake 1 fp32", "fp32")
    layers = (WeightLayer("base", "base", 6), WeightLayer("f", "f", 1, 0.5))
    half = NetworkBinding(engine, WeightRef(layers))
    more = replace(half, weights=WeightRef((layers[0], replace(layers[1], strength=0.7))))
    first, again, other = (engines.lease("u", binding) for binding in (half, replace(half), more))
    assert first.module is again.module is not other.module
    assert engines.loaded_bytes == 2 * (4 + 7 + 48)
    temp = tmp_path / "store/temp"
    assert len(list(temp.iterdir())) == 2
    for lease in (first, other):
        engines.release(lease)
    engines.evict()
    assert len(list(temp.iterdir())) == 1
    assert torch.equal(again.module({})["W"], BASE["W"] + 0.5 * (UP @ DOWN))
    engines.release(again)
    engines.close()
    assert not list(temp.iterdir())
    backend.fails = True
    with pytest.raises(PlanError, match="no such luck"):
        Engines(Artifacts(tmp_path, factors), lambda _: backend).lease("u", half)
    assert not list(temp.iterdir())
    assert not backend.files[1].exists()


def test_a_store_counts_as_the_place_of_scratch(tmp_path: Path) -> None:
    """What is multiplied out is no entry: nothing lists, prunes or verifies it."""
    with opened(tmp_path, factor_file(tmp_path / "f", {"up": UP, "down": DOWN})) as weights:
        files, store = weights.files(), Store(tmp_path / "store")
        assert (store.ls(), store.size(), store.prune(), store.verify()) == ((), 0, (), ())
        assert files[1].exists()
