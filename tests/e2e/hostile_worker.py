"""Reads the hostile files of one kind, one after the other: `python -m tests.e2e.hostile_worker KIND FOLDER WORK`.

Prints a line of JSON a file: its name, CPU seconds, the growth of the process in bytes, and what came of it. Anything
but a ComfycError ends it with a traceback.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphs.errors import ComfycError
from runtime.memory import peak_rss_bytes

Json = Any


def picture(file: Path, work: Path) -> None:
    from runtime.ops.image import load_image
    from tests.runtime.op_context import context

    shutil.copy(file, work / "input" / "a.img")
    load_image(context(work), "a.img")


def latent(file: Path, work: Path) -> None:
    from runtime.ops.files import load_latent
    from tests.runtime.op_context import context

    shutil.copy(file, work / "input" / "a.latent")
    load_latent(context(work), "a.latent")


def embedding(file: Path, work: Path) -> None:
    from runtime.text.embeddings import load_embedding

    load_embedding(file, "clip_l", 768)


def model_paths(file: Path, work: Path) -> None:
    from runtime.folders import Folders

    folders = Folders.of([file])
    for kind in folders.kinds:
        folders.list(kind)


def record(file: Path, work: Path) -> None:
    from runtime.store import Store, key_of

    key, store = key_of("engine", "x"), Store(work / "store")
    store.put(key, b"content")
    (work / "store" / "entries" / f"{key}.json").write_bytes(file.read_bytes().partition(b"\n--data--")[0])
    store.get(key)
    store.prune(0)


def prefix(file: Path, work: Path) -> None:
    from runtime.files import save_name

    save_name(os.fsdecode(file.read_bytes()), work / "output", width=1, height=1, where="node 9")


def constants(file: Path, work: Path) -> None:
    """With a digest that was made to fit."""
    import hashlib

    plan = _plan(work)
    shutil.copy(file, plan / "constants.safetensors")
    content = file.read_bytes()
    digest = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    _run(work, {"constants": digest}, {})


def plan_json(file: Path, work: Path) -> None:
    """Any JSON as plan.json, with a sum that was made to fit."""
    _plan(work)
    document = json.loads(file.read_bytes() or b"{}")
    _run(work, document if isinstance(document, dict) else {}, {})


def settings(file: Path, work: Path) -> None:
    _plan(work)
    _run(work, {}, json.loads(file.read_bytes() or b"{}"))


def _plan(work: Path) -> Path:
    """A fresh plan over fake engines."""
    from runtime.store import Store
    from tests.runtime.fake_backend import write_plan

    write_plan(work / "plan", Store(work / "store"))
    return work / "plan"


def _run(work: Path, fields: Json, params: Json) -> None:
    from graphs.plan_json import content_sum
    from runtime.session import Session
    from runtime.store import Store
    from tests.runtime.fake_backend import FakeBackend

    path = work / "plan" / "plan.json"
    document = {**json.loads(path.read_text("utf-8")), **fields}
    document.pop("sha256", None)
    path.write_text(json.dumps({**document, "sha256": content_sum(document)}), "utf-8")
    with Session.open(work / "plan", store=Store(work / "store"), backend=lambda name: FakeBackend()) as session:
        session.run(params, input_dir=work / "input", output_dir=work / "output", temp_dir=work / "temp")


def object_info(file: Path, work: Path) -> None:
    from graphs.schemas import builtin

    dump = json.loads(file.read_bytes() or b"{}")
    schemas = builtin().with_object_info(dump)
    for class_type in dump:
        schemas.lookup(class_type)


def lora(file: Path, work: Path) -> None:
    from benchmarks.synthetic import write_checkpoint
    from compiler.models.weights_tree import merged
    from tests.compiler.eager_networks import by_path, recipe_of

    base = work / "base.safetensors"
    if not base.is_file():
        write_checkpoint(base, parts=("unet",), seed=1)
        return
    shutil.copy(file, work / "lora.safetensors")
    for load in merged(recipe_of(base, (work / "lora.safetensors", 1.0)), "unet", by_path).values():
        load()


def workflow(file: Path, work: Path) -> None:
    from compiler.checking.check import check
    from graphs.schemas import builtin
    from graphs.workflow import read_workflow, to_api

    graph = read_workflow(file.read_bytes(), builtin())
    to_api(check(graph, builtin(), {"checkpoints": ("a.safetensors",)}).runnable)


READERS: dict[str, Callable[[Path, Path], None]] = {
    "images": picture,
    "images_cli": picture,
    "latents": latent,
    "pickles": embedding,
    "yaml": model_paths,
    "store": record,
    "traversal": prefix,
    "compile_front": workflow,
    "workflow": workflow,
    "directed": workflow,
    "constants": constants,
    "planrun": plan_json,
    "sets": settings,
    "objectinfo": object_info,
    "safetensors": lora,
}


def main(kind: str, folder: Path, work: Path) -> None:
    for name in ("input", "output"):
        (work / name).mkdir(parents=True, exist_ok=True)
    warm_up = work / "warm_up"  # imports count for no file
    warm_up.write_bytes(b"")
    for file in (warm_up, *sorted(folder.iterdir())):
        before, began = peak_rss_bytes() or 0, time.process_time()
        try:
            READERS[kind](file, work)
            outcome = "read"
        except ComfycError as error:
            outcome = str(error)[:200]
        seconds, grown = time.process_time() - began, (peak_rss_bytes() or 0) - before
        if file != warm_up:
            print(json.dumps({"file": file.name, "seconds": seconds, "grown": grown, "outcome": outcome}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
