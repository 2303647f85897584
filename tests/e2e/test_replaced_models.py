"""A model file that was replaced with its time kept is another one: no plan of the old file is taken for it."""

from __future__ import annotations

import os
from pathlib import Path

from comfyc.plan_cache import plan_key
from compiler.options import CompileOptions
from graphs.graph import Graph
from graphs.node import Node
from graphs.schemas import builtin
from runtime.folders import Folders


def test_the_key_of_a_plan_changes_with_a_file_whose_time_was_kept(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints" / "a.safetensors"
    file.parent.mkdir()
    graph = Graph([Node("4", "CheckpointLoaderSimple", {"ckpt_name": "a.safetensors"})])

    def key() -> str:
        return plan_key(graph, CompileOptions(), Folders.of([tmp_path]), builtin())

    file.write_bytes(b"old model")
    os.utime(file, (1_600_000_000, 1_600_000_000))
    first = key()
    assert key() == first
    (tmp_path / "new").write_bytes(b"new model")
    os.utime(tmp_path / "new", (1_600_000_000, 1_600_000_000))
    os.replace(tmp_path / "new", file)  # as rsync -t, cp -p, tar or an image layer with fixed times leave it
    assert key() != first
