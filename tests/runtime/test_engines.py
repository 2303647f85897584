"""The pool of engines: each loaded once, shared, counted, and freed when memory is wanted and nobody uses it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graphs.errors import DeviceError, PlanError
from graphs.plan import EngineRef, NetworkBinding, WeightLayer, WeightRef
from runtime.arena import DeviceArena
from runtime.backends.backend import EngineSpec, LoadSpec, Module
from runtime.engines import Engines, Leases
from runtime.network_weights import NetworkWeights
from tests.runtime.fake_backend import FakeBackend


class Profiled(FakeBackend):
    """Engines of 10 bytes, bound to sizes and targets. started, go_on: to hold a load up."""

    profiled = True

    def __init__(self) -> None:
        super().__init__()
        self.started, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.specs: list[LoadSpec] = []
        self.fails = False

    def fingerprint(self, spec: EngineSpec) -> str:
        return f"fake {self.version} {spec.precision} {spec.device} {dict(spec.profile)} {spec.targets}"

    def load(self, engine: Path, weights: NetworkWeights, spec: LoadSpec) -> Module:
        self.started.set()
        assert self.go_on.wait(20)
        self.specs.append(spec)
        if self.fails:
            raise PlanError("no such luck")
        return super().load(engine, weights, spec)


class Folder:
    """Artifacts: files of a folder, made as they are asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def engine_path(self, engine: EngineRef) -> Path:
        return self._file(engine.key, engine.key)

    def weights(self, weights: WeightRef) -> NetworkWeights:
        return NetworkWeights.of(*(self._file(layer.key, layer.key.replace("-", " ")) for layer in weights.layers))

    def _file(self, name: str, content: str) -> Path:
        path = self._root / name
        path.write_text(content)
        return path


PROFILE = {"batch": (1, 2, 8)}


def binding(kind: str, *mixes: str) -> NetworkBinding:
    print_ = f"fake 1 fp32 cpu {PROFILE} ('sm89',)"
    engine = EngineRef(kind, f"sha of {kind}", 4, "fake", print_, "fp32", "cpu", PROFILE, ("sm89",))
    layers = (WeightLayer(f"weights-of-{kind}", "base", 6), *(WeightLayer(mix, mix, 1) for mix in mixes))
    return NetworkBinding(engine, WeightRef(layers))


UNET, CLIP, VAE = binding("unet"), binding("clip_l"), binding("vae_decoder")


@pytest.fixture
def fake() -> Profiled:
    return Profiled()


def pool(root: Path, fake: FakeBackend, **options: object) -> Engines:
    return Engines(Folder(root), lambda name: fake, **options)  # type: ignore[arg-type]  # of any test


def test_an_engine_is_loaded_once_for_equal_weights(tmp_path: Path, fake: Profiled) -> None:
    engines = pool(tmp_path, fake)
    first, second = engines.lease("a", UNET), engines.lease("b", UNET)
    mixed = engines.lease("c", binding("unet", "lora"))
    assert first.module is second.module is not mixed.module
    assert fake.loaded == ["unet", "unet"]
    assert (first.load_s > 0, second.load_s) == (True, 0.0)
    assert (engines.loads, engines.loaded_bytes) == (2, 21)
    assert engines.load_s == first.load_s + mixed.load_s


def test_two_that_ask_at_once_load_once_and_others_need_not_wait(tmp_path: Path, fake: Profiled) -> None:
    engines = pool(tmp_path, fake)
    found: list[Module] = []
    fake.go_on.clear()
    askers = [threading.Thread(target=lambda: found.append(engines.lease("u", UNET).module)) for _ in range(4)]
    for asker in askers:
        asker.start()
    assert fake.started.wait(20)
    assert engines.loaded_bytes == 10  # the pool answers while an engine is loaded
    fake.go_on.set()
    for asker in askers:
        asker.join(20)
    assert len(found) == 4
    assert len(set(map(id, found))) == 1
    assert fake.loaded == ["unet"]


def test_the_least_recently_used_goes_first_and_never_one_in_use(tmp_path: Path, fake: Profiled) -> None:
    engines = pool(tmp_path, fake, max_bytes=20)
    unet, clip = engines.lease("u", UNET), engines.lease("c", CLIP)
    engines.release(unet)
    engines.release(clip)
    engines.release(engines.lease("u", UNET))  # used again: now the text encoder is the older one
    vae = engines.lease("v", VAE)
    assert fake.closed == ["clip_l"]
    unet, clip = engines.lease("u", UNET), engines.lease("c", CLIP)  # 30 bytes, all in use
    assert fake.closed == ["clip_l"]
    engines.release(vae)
    assert fake.closed == ["clip_l", "vae_decoder"]
    assert engines.loaded_bytes == 20


def test_a_run_may_give_engines_back_early(tmp_path: Path, fake: Profiled) -> None:
    engines = pool(tmp_path, fake, max_bytes=0)
    with Leases(engines, {"u": UNET, "v": VAE}) as leases:
        leases.module("u")
        leases.module("v")
        assert fake.closed == []
        leases.release(("u", "not used"))
        assert fake.closed == ["unet"]
    assert fake.closed == ["unet", "vae_decoder"]


def test_engines_of_closed_plans_go_unless_the_pool_keeps_them(tmp_path: Path, fake: Profiled) -> None:
    for keep, expected in ((False, ["unet", "vae_decoder"]), (True, [])):
        fake.closed.clear()
        engines = pool(tmp_path, fake, keep=keep)
        one, other = {"u": UNET, "c": CLIP}, {"c": CLIP, "v": VAE}
        engines.enter(one)
        engines.enter(other)
        for binding in (UNET, CLIP, VAE):
            engines.release(engines.lease("n", binding))
        engines.leave(one)
        assert fake.closed == expected[:1]
        engines.enter(one)
        engines.leave(other)
        assert fake.closed == expected
        engines.close()
        assert sorted(fake.closed) == ["clip_l", "unet", "vae_decoder"]


def test_what_cannot_be_loaded_is_asked_for_again(tmp_path: Path, fake: Profiled) -> None:
    engines = pool(tmp_path, fake)
    fake.fails = True
    with pytest.raises(PlanError, match="no such luck"):
        engines.lease("u", UNET)
    assert engines.loaded_bytes == 0
    fake.fails = False
    engines.lease("u", UNET)
    assert fake.loaded == ["unet"]


def test_a_closed_pool_frees_what_is_in_use_when_it_is_given_back(tmp_path: Path, fake: Profiled) -> None:
    engines = pool(tmp_path, fake)
    lease = engines.lease("u", UNET)
    engines.close()
    assert fake.closed == []
    engines.release(lease)
    assert fake.closed == ["unet"]
    with pytest.raises(PlanError, match="network u: the engines are closed"):
        engines.lease("u", UNET)


def test_an_engine_is_held_against_what_it_says_it_is(tmp_path: Path, fake: Profiled) -> None:
    """Of a profiled backend too, whose fingerprint has the sizes and targets that the engine was built for."""
    engines = pool(tmp_path, fake)
    engines.enter({"u": UNET})
    narrow = NetworkBinding(replace(UNET.engine, profile={"batch": (1, 1, 1)}), UNET.weights)
    with pytest.raises(PlanError, match="another machine or library version"):
        engines.enter({"u": narrow})
    fake.version = "2"
    with pytest.raises(PlanError, match=r"another machine or library version: expected fake 2 .*, got fake 1"):
        engines.enter({"u": UNET})


def test_the_device_has_an_index_and_an_arena(tmp_path: Path, fake: Profiled) -> None:
    gpu = NetworkBinding(
        replace(UNET.engine, device="cuda", fingerprint=UNET.engine.fingerprint.replace("cpu", "cuda")), UNET.weights
    )
    engines = pool(tmp_path, fake, device="cuda:1", threads=3)
    engines.lease("u", gpu)
    (spec,) = fake.specs
    assert (spec.device, spec.threads) == ("cuda:1", 3)
    assert spec.arena is not None
    with pytest.raises(DeviceError, match=r"for another device: expected cpu, got cuda:1"):
        engines.enter({"u": UNET})


def test_engines_that_take_one_caller_at_a_time_make_runs_take_turns(tmp_path: Path, fake: Profiled) -> None:
    engines = pool(tmp_path, fake)
    with engines.turn([UNET]):  # reentrant: a second run is not held up
        assert _enters(engines)
    fake.reentrant = False
    with engines.turn([UNET]):
        assert not _enters(engines)
    assert _enters(engines)


def _enters(engines: Engines) -> bool:
    """Whether another thread's run may begin now."""
    entered = threading.Event()

    def run() -> None:
        with engines.turn([UNET]):
            entered.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return entered.wait(0.2)


def test_an_arena_is_one_buffer_that_grows() -> None:
    arena = DeviceArena("cpu")
    large = arena.take(100)
    assert arena.take(10).data_ptr() == large.data_ptr()
    assert (large.dtype, large.shape) == (torch.uint8, (100,))
    assert arena.take(200).data_ptr() != large.data_ptr()
    assert arena.take(150).data_ptr() != large.data_ptr()
