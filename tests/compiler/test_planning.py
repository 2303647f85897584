"""One prompt after the other in one process: where the networks are known, planning costs milliseconds."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.synthetic import write_checkpoint
from compiler.compile import CompileResult, compile_workflow
from compiler.linking.known import Known
from compiler.options import CompileOptions
from graphs.schemas import builtin
from graphs.workflow import parse_api
from runtime.artifacts import StoreArtifacts
from runtime.engines import Engines
from runtime.folders import Folders
from runtime.session import Session
from runtime.store import Store
from tests.runtime.fake_backend import default_prompt
from tests.small_unet import SMALL

MOST_MS = 10.0
OPTIONS = CompileOptions(backend="onnxruntime", fold=False)


@dataclass
class Server:
    """All that one process keeps between prompts."""

    root: Path
    known: Known = field(default_factory=Known)

    def __post_init__(self) -> None:
        self.folders = Folders.of([self.root / "models"])
        self.store = Store(self.root / "store")
        self.engines = Engines(StoreArtifacts(self.store), keep=True)
        self.schemas = builtin()

    def plan(self, text: str = "a fox", options: CompileOptions = OPTIONS) -> CompileResult:
        prompt: dict[str, Any] = default_prompt()
        prompt["6"]["inputs"]["text"] = text
        return compile_workflow(
            parse_api(prompt), options, folders=self.folders, store=self.store, schemas=self.schemas,
            engines=self.engines, known=self.known,
        )  # fmt: skip

    def picture(self, result: CompileResult, name: str) -> bytes:
        with Session(result.plan, result.constants, self.engines) as session:
            (file,) = session.run(output_dir=self.root / name).files
        with Image.open(file.path) as image:
            return image.tobytes()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planning")
    (root / "models" / "checkpoints").mkdir(parents=True)
    write_checkpoint(root / "models" / "checkpoints" / "sd15.safetensors", seed=1, unet=SMALL)
    time.sleep(2.1)  # the listing of a folder that changed just now is not remembered
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Server:
    server = Server(root)
    server.plan()
    return server


def test_a_known_prompt_loads_exports_and_walks_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(*_: object, **__: object) -> Any:
        raise AssertionError("a folder is walked")

    loads = server.engines.loads
    for name in ("scandir", "listdir", "walk"):
        monkeypatch.setattr(os, name, walk)
    result = server.plan("a wolf")
    assert (result.counts.exports, result.counts.builds, result.counts.weights) == (0, 0, 0)
    assert result.counts.seconds == {}
    assert server.engines.loads == loads
    assert result.constants == {}


def test_a_known_prompt_is_planned_in_milliseconds(server: Server) -> None:
    taken = []
    for number in range(20):
        started = time.process_time()
        server.plan(f"a fox, number {number}")
        taken.append(1000 * (time.process_time() - started))
    assert min(taken) < MOST_MS


def test_a_plan_in_memory_draws_what_a_folded_one_draws(server: Server) -> None:
    plain, folded = server.plan(), server.plan(options=replace(OPTIONS, fold=True))
    assert folded.constants
    loads = server.engines.loads
    first = server.picture(plain, "plain")
    assert first == server.picture(folded, "folded")
    assert server.engines.loads > loads  # what folding did not need
    loads = server.engines.loads
    assert first != server.picture(server.plan("a wolf"), "wolf")
    assert server.engines.loads == loads  # the pool keeps engines between sessions


def test_a_changed_checkpoint_is_linked_again(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "models", tmp_path / "models")
    server = Server(tmp_path)
    first = server.plan()
    write_checkpoint(tmp_path / "models" / "checkpoints" / "sd15.safetensors", seed=2, unet=SMALL)
    second = server.plan()
    assert second.counts.weights == len(second.plan.bindings)
    assert second.counts.exports == 0
    assert first.plan.bindings != second.plan.bindings


def test_what_the_store_lost_is_linked_again(root: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(root / "models")
    server = Server(tmp_path)
    server.plan()
    server.store.prune()
    assert server.plan().counts.builds == len(server.plan().plan.bindings)
