"""What two checkpoints of one architecture share, with engines that leave the weights outside and ones that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.synthetic import write_checkpoint
from compiler.linking.link import Linker, Target
from graphs.plan import NetworkBinding, Profile
from graphs.program import NetworkUse
from runtime.backends.backend import Availability, EngineSpec, NetworkModel, Progress
from runtime.backends.null import NullBackend
from runtime.store import Store
from tests.compiler.eager_networks import by_path, recipe_of


class Builder(NullBackend):
    """Engines are the kind and, where they carry weights, the weight file's bytes."""

    profiled = True

    def __init__(self, weights_inside: bool) -> None:
        self.weights_inside = weights_inside

    def available(self) -> Availability:
        return Availability(True, False)

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes:
        assert model.weights_file is not None
        return model.kind.encode() + (Path(model.weights_file).read_bytes() if self.weights_inside else b"")


SIZES, MORE_PICTURES, LONGER_TEXTS = Profile(), Profile(batch=(1, 8)), Profile(text=(77, 1540))


def bind(
    folder: Path, checkpoint: str, profile: Profile = SIZES, *, inside: bool = False
) -> tuple[NetworkBinding, int]:
    """The binding of unet_context, and how many engines had to be built for it."""
    linker = Linker(Target(Builder(inside), "fp32", "cpu", profile), Store(folder / "store"), by_path)
    use = NetworkUse("u", "unet_context", recipe_of(folder / checkpoint))
    return linker.bind(use), linker.counts.builds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("link")
    for seed in (1, 2):
        write_checkpoint(folder / f"{seed}.safetensors", seed=seed, parts=("unet",))
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
    keys = [bind(folder, "1.safetensors", profile)[0].engine.key for profile in (SIZES, MORE_PICTURES, LONGER_TEXTS)]
    assert keys[0] == keys[1] != keys[2]
