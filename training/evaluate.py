"""Scores the shipped demo model on held-out captions, each drawn by `comfyc run`, and writes the table.

usage: python -m training.evaluate [--count 200] [--pairs 100] [--out benchmarks/results/demo_model.json]

Euler, 20 steps, normal, the cfg of the demo, one seed per caption, nothing drawn twice or picked. Few of the captions
ask for a relation, so a second lot asks for nothing else, and counts for relations only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from comfyc.command_line import cli
from comfyc.demo_model import SHAPES, install
from comfyc.demonstration import CFG, NEGATIVE, SIDE
from graphs.examples import example
from training.probe import held_out
from training.scenes import Scene
from training.score import Score, compare, read, totals

TARGETS = {"colours": 90, "shapes": 85, "counts": 80, "relations": 80}


def draw(text: str, seed: int, models: Path, output: Path) -> Path:
    """One `comfyc run` of the default workflow; its picture."""
    settings = {
        "4.ckpt_name": SHAPES, "6.text": text, "7.text": NEGATIVE, "3.seed": seed, "3.steps": 20, "3.cfg": CFG,
        "5.width": SIDE, "5.height": SIDE,
    }  # fmt: skip
    words = ["run", str(example("default")), "--models", str(models), "--output", str(output), "-q"]
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    cli.main(words, standalone_mode=False)
    return max(output.glob("*.png"))


def evaluate(scenes: list[Scene], texts: list[str], models: Path) -> list[Score]:
    count, scores = len(scenes), []
    for number, (scene, text) in enumerate(zip(scenes, texts, strict=True)):
        with tempfile.TemporaryDirectory() as folder:
            picture = Image.open(draw(text, number, models, Path(folder))).convert("RGB")
            pixels = np.asarray(picture, dtype=np.float32) / np.float32(255)
        scores.append(compare(scene, read(pixels)))
        if (number + 1) % 20 == 0:
            print(f"{number + 1}/{count}  " + "  ".join(f"{k} {v:.1f}" for k, v in totals(scores).items()),
                  file=sys.stderr, flush=True)  # fmt: skip
    return scores


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Score the demo model on held-out captions.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=100, help="captions more that all ask for a relation")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/demo_model.json"))
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        models = install(Path(folder))
        scores = evaluate(*held_out(args.count), models)
        more = evaluate(*held_out(args.pairs, seed=8, pairs=1.0), models) if args.pairs else []
        seconds = time.perf_counter() - began
    relations = [s for s in (*scores, *more) if s.relation is not None]
    reached = totals(scores) | {k: v for k, v in totals(relations).items() if "relations" in k}
    for name, value in reached.items():
        target = TARGETS.get(name)
        print(f"{name:<12} {value:5.1f} %" + (f"   target {target} %" if target else ""))
    result = {
        "captions": args.count,
        "relations_asked": len(relations),
        "seconds": round(seconds, 1),
        "sampling": f"euler, 20 steps, normal, cfg {CFG:g}",
        "percent": {k: round(v, 1) for k, v in reached.items()},
        "each": [asdict(s) for s in scores],
        "pairs": [asdict(s) for s in more],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return int(any(reached[name] < target for name, target in TARGETS.items()))


if __name__ == "__main__":
    sys.exit(main())
