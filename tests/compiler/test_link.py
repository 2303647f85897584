"""What two checkpoints of one architecture share, with engines that leave the weights outside and ones that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.synthetic import write_checkpoint, write_lora
from compiler.linking.link import Linker, Target
from graphs.plan import NetworkBinding, Profile
from graphs.program import NetworkUse
from runtime.artifacts import StoreArtifacts
from runtime.backends.backend import Availability, EngineSpec, NetworkModel, Progress
from runtime.backends.null import NullBackend
from runtime.store import Store
from tests.compiler.eager_networks import by_path, recipe_of
from tests.small_unet import SMALL


class Builder(NullBackend):
    """Engines are the kind and, where they carry weights, the weight file's bytes."""

    profiled = True

    def __init__(self, weights_inside: bool) -> None:
        self.weights_inside = weights_inside

    def available(self) -> Availability:
        return Availability(True, False)

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes:
        return model.kind.encode() + (b"".join(path.read_bytes() for path in model.weights) * self.weights_inside)


SIZES, MORE_PICTURES, LONGER_TEXTS = Profile(), Profile(batch=(1, 8)), Profile(text=(77, 1540))


def bind(
    folder: Path, checkpoint: str, *loras: tuple[Path, float], profile: Profile = SIZES, inside: bool = False,
    kind: str = "unet_context",
) -> tuple[NetworkBinding, int]:  # fmt: skip
    """The binding of a network, and how many engines had to be built for it."""
    linker = Linker(Target(Builder(inside), "fp32", "cpu", profile), Store(folder / "store"), by_path)
    use = NetworkUse("u", kind, recipe_of(folder / checkpoint, *loras))
    return linker.bind(use), linker.counts.builds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("link")
    for seed in (1, 2):
        write_checkpoint(folder / f"{seed}.safetensors", seed=seed, parts=("unet",), unet=SMALL)
    return folder


@pytest.mark.parametrize("inside", [False, True])
def test_the_same_checkpoint_builds_once(inside: bool, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "1.safetensors").symlink_to(folder / "1.safetensors")
    first, built = bind(tmp_path, "1.safetensors", inside=inside)
    assert built == 1
    again, built = bind(tmp_path, "1.safetensors", inside=inside)
    assert (again, built) == (first, 0)


def test_checkpoints_share_an_engine_that_carries_no_weights(folder: Path) -> None:
    first, _ = bind(folder, "1.safetensors")
    second, built = bind(folder, "2.safetensors")
    assert built == 0
    assert first.engine == second.engine
    assert first.weights != second.weights


def test_checkpoints_never_share_an_engine_that_carries_weights(folder: Path) -> None:
    first, _ = bind(folder, "1.safetensors", inside=True)
    second, built = bind(folder, "2.safetensors", inside=True)
    assert built == 1
    assert first.engine.key != second.engine.key
    assert first.engine.sha256 != second.engine.sha256


def test_an_engine_depends_on_the_sizes_that_its_network_has(folder: Path) -> None:
    """Texts are projected one by one, so the batch of pictures is none of unet_context's sizes; their length is."""
    profiles = (SIZES, MORE_PICTURES, LONGER_TEXTS)
    keys = [bind(folder, "1.safetensors", profile=profile)[0].engine.key for profile in profiles]
    assert keys[0] == keys[1] != keys[2]


def test_a_lora_costs_what_it_changes(folder: Path, tmp_path: Path) -> None:
    """On top of the base file that every mix of the checkpoint shares."""
    write_lora(tmp_path / "lora.safetensors", unet=SMALL)
    plain, _ = bind(folder, "1.safetensors", kind="unet_core")
    lora = (tmp_path / "lora.safetensors", 0.8)
    mixed, built = bind(folder, "1.safetensors", lora, kind="unet_core")
    assert built == 0
    assert mixed.engine == plain.engine
    assert mixed.weights.layers[0] == plain.weights.layers[0]
    base, changed = mixed.weights.layers
    assert 0 < changed.size_bytes < base.size_bytes / 2
    weights = StoreArtifacts(Store(folder / "store")).weights(mixed.weights)
    names = load_file(weights.files()[1]).keys()
    assert names
    assert all("attn" in name or "proj_" in name or "ff" in name for name in names)
    nothing, _ = bind(folder, "1.safetensors", (lora[0], 0.0), kind="unet_core")
    assert nothing.weights.layers == plain.weights.layers


def test_another_torch_traces_again_where_the_form_is_torchs_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine of the eager backend is a program that torch saved: the hint "compile again" has to heal it."""

    def exports(form: str) -> int:
        builder = Builder(False)
        builder.form = form
        linker = Linker(Target(builder, "fp32", "cpu", SIZES), Store(folder / "store"), by_path)
        linker.bind(NetworkUse("u", "unet_context", recipe_of(folder / "1.safetensors")))
        return linker.counts.exports

    for form in ("onnx", "exported-program"):
        exports(form)
        assert exports(form) == 0
    monkeypatch.setattr(torch, "__version__", "99.0+cpu")
    assert exports("onnx") == 0  # ONNX is a standard: what another torch traced stays good
    assert exports("exported-program") == 1
