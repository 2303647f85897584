"""One process of benchmarks.bench_gpu: what it takes to draw with another checkpoint, or with LoRAs, in a process that
draws already. Builds and exports are counted; there must be none.

usage: python -m benchmarks.gpu_switch CASE BACKEND FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_cases import CASES, Prompt, prompt

Row = dict[str, Any]


def switches(name: str, backend: str, folder: Path) -> list[Row]:
    """A row for each workflow, in turn. plan_s: from the workflow to the open plan, weight files written where they
    are new; first_s: the run after it, with its loading; warm_s: the next run. folder: with models, of the bench."""
    from comfyc.building import options_of
    from comfyc.parameter_types import Size
    from compiler.compile import compile_workflow, target_of
    from compiler.linking.known import Known
    from graphs.workflow import read_workflow
    from runtime.artifacts import StoreArtifacts
    from runtime.engines import Engines
    from runtime.folders import Folders
    from runtime.session import Session
    from runtime.store import Store

    side = CASES[name].side
    options = options_of(backend=backend, batch=(1, 1), size=Size((side, side), (side, side)))
    folders, store, known = Folders.of([folder / "models"]), Store(), Known()
    device = target_of(options)[0].device
    engines = Engines(StoreArtifacts(store), device=device, keep=True)
    rows = []
    for label, wanted in _workflows(name):
        file = folder / "switch.json"
        file.write_text(json.dumps(wanted), "utf-8")
        began = time.time()
        result = compile_workflow(
            read_workflow(file), options, folders=folders, store=store, engines=engines, known=known
        )
        with Session(result.plan, {k: t.to(device) for k, t in result.constants.items()}, engines) as session:
            planned = time.time()
            first = session.run({}, output_dir=folder / "out-switch")
            drawn = time.time()
            session.run({"3.seed": 5}, output_dir=folder / "out-switch")
            counts = result.counts
            rows.append({
                "to": label, "plan_s": planned - began, "first_s": drawn - planned, "warm_s": time.time() - drawn,
                "load_s": first.seconds["load"], "builds": counts.builds, "exports": counts.exports,
                "weight_files": counts.weights, "seconds": {k: round(s, 3) for k, s in counts.seconds.items()},
            })  # fmt: skip
    engines.close()
    return rows


def _workflows(name: str) -> list[tuple[str, Prompt]]:
    return [
        ("the first checkpoint", prompt(name)),
        ("another checkpoint", prompt(name, checkpoint=1)),
        ("back to the first checkpoint", prompt(name)),
        ("two LoRAs", prompt(name, "loras", strength=0.8)),
        ("two LoRAs of other strength", prompt(name, "loras", strength=0.5)),
        ("two LoRAs as before", prompt(name, "loras", strength=0.8)),
    ]


if __name__ == "__main__":
    print(json.dumps(switches(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
