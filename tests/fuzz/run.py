"""Long runs of mutations: `python -m tests.fuzz.run --count 20000 --json benchmarks/results/fuzz.json [KIND ...]`.

Each kind mutates real files in one process, and counts what came out: a result, a ComfycError, or anything else, which
is a bug and is printed with its input kept in --keep. Time is the processor's own; memory is the growth of the process.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import random
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from graphs.errors import ComfycError
from runtime.memory import peak_rss_bytes
from tests.e2e import hostile_worker
from tests.fuzz.test_readers import JUNK, RECORDED, WORKFLOWS, mutated, places
from tests.fuzz.test_runtime_readers import SEEDS

Json = Any
MOST_SECONDS, MOST_BYTES = 2.0, 1 << 30
ALIAS = "lora_unet_input_blocks_0_0"
SETTINGS: dict[str, list[Json]] = {
    "3.steps": [0, 1, 2, -1, 100, 10**9, 1.5, "2", None], "3.denoise": [1e-9, 0, 1, 0.5, -1, 2, "x", 1e-4],
    "3.cfg": [0, 1e30, -5, "nan", "inf"], "3.seed": [-1, 2**64 - 1, 2**64, "x", 1.5, True],
    "3.sampler_name": ["euler", "uni_pc", "ddim", "", "x" * 5000, 3], "3.scheduler": ["karras", "beta", "normal", None],
    "5.width": [0, 8, 64, 72, 63, 10**6, -64, "64"], "5.batch_size": [0, 1, 3, 10**6], "9.filename_prefix": [
        "", "..", "a/b", "/x", "\ud800", "\0", "%date:yyyy%", "x" * 300, "%3.seed%", "C:\\x", "é" * 200, "con", "a//b"],
    "6.text": ["", "(a:1.2)", "(" * 2000, "embedding:x", "a" * 3000, "\ud800", "(a:inf)", "(a:nan)"], "no.such": [1],
}  # fmt: skip

Mutation = Callable[[random.Random], bytes]


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Some bytes set, removed, repeated or put in, and perhaps the end cut off."""
    for _ in range(draw.randint(1, 6)):
        at, piece = draw.randrange(len(data) + 1), draw.randbytes(draw.randint(1, 4))
        after = at + draw.choice((0, 0, len(piece)))
        middle = draw.choice((piece, piece, b"", data[at : at + 64] * 3))
        data = data[:at] + middle + data[after:]
    return data if draw.random() < 0.8 else data[: draw.randrange(len(data) + 1)]


def plan_with_one_place_changed(plan: Json) -> Mutation:
    def mutation(draw: random.Random) -> bytes:
        document = copy.deepcopy(plan)
        for _ in range(draw.randint(1, 2)):
            spots = places(document)
            container, key = draw.choice(spots)
            other, at = draw.choice(spots)
            container[key] = copy.deepcopy(draw.choice(JUNK) if draw.random() < 0.7 else other[at])
        return json.dumps(document).encode()

    return mutation


def settings(draw: random.Random) -> bytes:
    names = draw.sample(sorted(SETTINGS), draw.randint(1, 4))
    return json.dumps({"3.steps": 1, **{name: draw.choice(SETTINGS[name]) for name in names}}).encode()


def kinds(work: Path) -> Iterator[tuple[str, str, str, Mutation]]:
    """(name, reader of hostile_worker, name of the file, what makes an input)."""
    yield "workflow", "workflow", "a.json", lambda draw: json.dumps(mutated(draw.choice(WORKFLOWS), draw)).encode()
    yield "object_info", "objectinfo", "a.json", lambda draw: json.dumps(mutated(RECORDED["classes"], draw)).encode()
    for reader, name, seed in SEEDS:
        yield f"{reader} {name}", reader, name, lambda draw, seed=seed: damaged(seed, draw)  # type: ignore[misc]
    plan = hostile_worker._plan(work)
    document = json.loads((plan / "plan.json").read_text("utf-8"))
    yield "plan.json, run", "planrun", "a.json", plan_with_one_place_changed(document)
    constants = (plan / "constants.safetensors").read_bytes()
    yield "constants", "constants", "a.safetensors", lambda draw: damaged(constants, draw)
    yield "settings of a run", "sets", "a.json", settings
    factors = {"lora_up.weight": torch.ones(32, 2, 1, 1), "lora_down.weight": torch.ones(2, 4, 3, 3)}
    lora = save({f"{ALIAS}.{key}": value for key, value in {**factors, "alpha": torch.tensor(1.0)}.items()})
    yield "LoRA safetensors", "safetensors", "a.safetensors", lambda draw: damaged(lora, draw)


def fuzz(name: str, reader: str, mutation: Mutation, count: int, file: Path, keep: Path) -> dict[str, Json]:
    draw, read, work = random.Random(name), hostile_worker.READERS[reader], file.parent
    found: dict[str, Json] = {"tried": 0, "read": 0, "refused": 0, "uncaught": 0, "over_2_s": 0, "over_1_gb": 0}
    slowest, most, began = 0.0, 0, time.process_time()
    for k in range(count):
        data = mutation(draw)
        file.write_bytes(data)
        before, started, bad = peak_rss_bytes() or 0, time.process_time(), ""
        try:
            read(file, work)
            found["read"] += 1
        except ComfycError:
            found["refused"] += 1
        except Exception:
            found["uncaught"] += 1
            bad = traceback.format_exc(limit=-4)
        seconds, grown = time.process_time() - started, (peak_rss_bytes() or 0) - before
        found["tried"] += 1
        found["over_2_s"] += seconds > MOST_SECONDS
        found["over_1_gb"] += grown > MOST_BYTES
        slowest, most = max(slowest, seconds), max(most, grown)
        if bad or seconds > MOST_SECONDS or grown > MOST_BYTES:
            kept = keep / f"{name.replace(' ', '_').replace('/', '_')}-{k}"
            kept.write_bytes(data)
            print(f"{kept}: {seconds:.1f} s, {grown >> 20} MiB\n{bad}", flush=True)
    spent = round(time.process_time() - began, 1)
    return {**found, "slowest_s": round(slowest, 3), "most_mib": most >> 20, "cpu_s": spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help="as the results call them; all when none is named")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "comfyc-fuzz")
    args = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # what is said about each input is for nobody
    warnings.simplefilter("ignore")
    args.keep.mkdir(parents=True, exist_ok=True)
    results: dict[str, Json] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("input", "output"):
            (work / name).mkdir()
        for name, reader, file, mutation in kinds(work):
            if args.kinds and name not in args.kinds:
                continue
            for warm_up in range(2):  # imports count for none
                fuzz(f"warm up {warm_up}", reader, mutation, 3, work / file, args.keep)
            results[name] = fuzz(name, reader, mutation, args.count, work / file, args.keep)
            print(name, json.dumps(results[name]), flush=True)
            if args.json is not None:
                args.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
