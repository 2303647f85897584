"""Does TensorRT-RTX build every Stable Diffusion 1.5 network at full width, how long does it take, is attention fused?

usage: python -m benchmarks.bench_engine_build [--checkpoint FILE] [--target sm89,sm120] [--precision fp16]
                                               [--batch 4] [--size 1024] [--text 231] [--networks unet_core,...]

Needs no GPU: it exports, writes weights and builds, each network alone, with all sizes dynamic up to --batch, --size
and --text. Without --checkpoint a full-size one with synthetic weights is written first (2.1 GB, into the temp folder).
"Total Activation Memory" is the library's figure for the largest sizes: where it is far below what the scores of one
attention of the finest level would take, attention is fused. Exit status 1 where that fails for a U-Net.
Writes benchmarks/results/engine_build.json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.synthetic import write_checkpoint, write_controlnet
from compiler.linking.link import SIDES, Linker, Target
from compiler.networks import NETWORKS, TextConfig, UNetConfig, VaeConfig
from graphs.plan import Profile
from graphs.program import NetworkUse
from graphs.values import ModelFile
from runtime.backends.backend import EngineSpec, NetworkModel, Progress
from runtime.backends.build_process import Built
from runtime.backends.tensorrt import TensorRtBackend
from runtime.store import Store

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "engine_build.json"
LATENT = 8  # pixels
FUSED = 1 / 4  # of the scores: below it they cannot all be in memory

Row = dict[str, Any]


class Measuring(TensorRtBackend):
    """Keeps what the builder measured, without the engines."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def built(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> Built:
        built = super().built(model, spec, progress)
        self.rows.append(
            {
                "network": model.kind,
                "layers": built.layers,
                "build_s": round(built.seconds, 2),
                "engine_bytes": built.engine.nbytes,
                "activation_bytes": built.activation_bytes,
                "builder_peak_rss_bytes": built.peak_rss_bytes,
                "profile": dict(spec.profile),
            }
        )
        return built


def measure(kind: str, checkpoint: Path, backend: Measuring, target: Target, folder: Path) -> Row:
    """Builds one network into a store of its own, which is emptied again."""
    store = Store(folder / "store")
    linker = Linker(target, store, lambda file: Path(file.name))
    binding = linker.bind(NetworkUse(kind, kind, ModelFile("checkpoints", str(checkpoint))))
    row = backend.rows[-1]
    row["export_s"] = round(linker.counts.seconds["export"], 2)
    row["weights_s"] = round(linker.counts.seconds["weights"], 2)
    row["weight_bytes"] = binding.weights.size_bytes
    row["scores_bytes"] = scores_bytes(kind, target.profile)
    row["fused"] = row["scores_bytes"] is None or row["activation_bytes"] < row["scores_bytes"] * FUSED
    store.prune(0)
    return row


def scores_bytes(kind: str, profile: Profile) -> int | None:
    """float16 scores of one self-attention at the finest level, at the largest sizes; None where no fusion is expected:
    the VAE's one head of 512 channels is beyond every fused kernel, the others have short texts or no attention."""
    if kind not in ("unet", "unet_core", "unet_control", "unet_core_control"):
        return None
    pixels = (profile.height[1] // LATENT) * (profile.width[1] // LATENT)
    return SIDES * profile.batch[1] * (UNetConfig().heads or 1) * pixels**2 * 2


def table(rows: list[Row]) -> str:
    lines = [f"{'network':<15} {'layers':>6} {'export s':>9} {'build s':>8} {'weights MB':>11} {'engine MB':>10}"
             f" {'activations MB':>15} {'builder peak GiB':>17}  attention"]  # fmt: skip
    for row in rows:
        scores = row["scores_bytes"]
        verdict = "fused" if row["fused"] else "NOT FUSED"
        peak = (row["builder_peak_rss_bytes"] or 0) / 2**30
        lines.append(
            f"{row['network']:<15} {row['layers']:>6} {row['export_s']:>9.1f} {row['build_s']:>8.1f}"
            f" {row['weight_bytes'] / 1e6:>11.1f} {row['engine_bytes'] / 1e6:>10.1f}"
            f" {row['activation_bytes'] / 1e6:>15.1f} {peak:>17.2f}"
            f"{'' if scores is None else f'  {verdict} (scores {scores / 1e6:.0f} MB)'}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build every network with TensorRT-RTX, at full width.")
    parser.add_argument("--checkpoint", type=Path, help="a Stable Diffusion 1.5 checkpoint")
    parser.add_argument("--target", default="sm89,sm120")
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--text", type=int, default=231)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    sides = (64, args.size)
    profile = Profile(batch=(1, args.batch), height=sides, width=sides, text=(77, args.text))
    backend = Measuring()
    state = backend.available()
    if not state.can_build:
        print(f"error: {state.reason}; {state.hint}", file=sys.stderr)
        return 5
    target = Target(backend, args.precision, "cuda", profile, tuple(args.target.split(",")))
    target.check()
    rows = []
    with tempfile.TemporaryDirectory(prefix="comfyc-bench-") as name:
        folder, checkpoint = Path(name), args.checkpoint
        if checkpoint is None:
            checkpoint = folder / "synthetic.safetensors"
            print("writing a full-size checkpoint with synthetic weights", file=sys.stderr)
            write_checkpoint(checkpoint, unet=UNetConfig(), vae=VaeConfig(), clip=TextConfig())
        control = folder / "control.safetensors"
        write_controlnet(control, unet=UNetConfig())
        for kind in args.networks.split(","):
            file = control if NETWORKS[kind].part == "controlnet" else checkpoint
            rows.append(measure(kind, file, backend, target, folder))
            print(f"built {kind}", file=sys.stderr)
    print(table(rows))
    document = {
        "library": f"tensorrt-rtx {importlib.metadata.version('tensorrt-rtx-cu13-bindings')}",
        "machine": {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "checkpoint": "synthetic weights" if args.checkpoint is None else args.checkpoint.name,
        "targets": list(target.targets), "precision": args.precision, "rows": rows,
    }  # fmt: skip
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if all(row["fused"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
