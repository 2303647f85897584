"""Does TensorRT-RTX build every network of SD1.5 and SDXL at full width, how long does it take, is attention fused?

usage: python -m benchmarks.bench_engine_build [--models sd15,sdxl] [--target sm89,sm120] [--precision fp16]
                                               [--batch 4] [--size 1024] [--text 231] [--networks unet_core,...]

Needs no GPU: it exports, writes weights and builds, each network alone, with all sizes dynamic up to --batch, --size
and --text. The checkpoints are those of the parity cases; where they have not been generated, files of the same layout
with small random numbers (SDXL: 7 GB, into the temp folder). "Total Activation Memory" is the library's figure for the
largest sizes: where it is far below what the scores of one attention of the finest level would take, attention is
fused. Exit status 1 where that fails for a U-Net.
Writes benchmarks/results/engine_build.json; with --networks, only the rows of these networks in it are new.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench_e2e import MODELS as FULL_SIZE
from compiler.linking.engine_sizes import SIDES
from compiler.linking.link import Linker, Target
from compiler.linking.specialise import resolve_network
from compiler.networks import NETWORKS
from compiler.networks.network import Config
from graphs.plan import Profile
from graphs.program import NetworkUse
from graphs.values import ModelFile
from runtime.backends.backend import EngineSpec, NetworkModel, Progress
from runtime.backends.build_process import Built
from runtime.backends.tensorrt import TensorRtBackend
from runtime.store import Store
from tests.parity.layouts.files import layout_of
from tests.parity.layouts.layout import Layout
from tests.parity.layouts.unet import SD15, SDXL, UNet, control
from tests.parity.make_ckpt import write_stand_in

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "engine_build.json"
LATENT = 8  # pixels
# Of the scores, which attention that is not fused holds at least once. SDXL's U-Net takes 0.43 of them at 1024 pixels,
# and 1/4.00 of that at 512: its activations grow with the pixels, not with their square, so they hold no scores.
FUSED = 1 / 2

Row = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A family at full width. texts: parts of its text encoders."""

    name: str
    checkpoint: str
    control: UNet
    texts: tuple[str, ...]

    def kinds(self) -> tuple[str, ...]:
        parts = {"unet", "vae", "controlnet", *self.texts}
        return tuple(kind for kind, network in NETWORKS.items() if network.part in parts)

    def write(self, folder: Path) -> dict[bool, Path]:
        """The checkpoint (that of the parity cases where it has been generated) and, under True, a ControlNet."""
        layout = Layout()
        control(layout, "", self.control)
        files = {False: FULL_SIZE / self.checkpoint, True: folder / f"{self.name}-control.safetensors"}
        if not files[False].is_file():
            files[False] = folder / f"{self.name}.safetensors"
            write_stand_in(files[False], layout_of(self.checkpoint), filled=True)
        write_stand_in(files[True], layout, filled=True)
        return files


MODELS = {
    model.name: model
    for model in (
        Model("sd15", "checkpoints/sd15.safetensors", SD15, ("clip_l",)),
        Model("sdxl", "checkpoints/sdxl.safetensors", SDXL, ("clip_l", "clip_g")),
    )
}


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


def measure(kind: str, model: Model, files: Mapping[bool, Path], backend: Measuring, target: Target) -> Row:
    """Builds one network into a store of its own, which is removed again."""
    use = NetworkUse(kind, kind, ModelFile("checkpoints", str(files[NETWORKS[kind].part == "controlnet"])))
    with tempfile.TemporaryDirectory(prefix="comfyc-bench-store-", dir=files[True].parent) as folder:
        linker = Linker(target, Store(Path(folder)), lambda file: Path(file.name))
        binding = linker.bind(use)
    row = {"model": model.name, **backend.rows[-1]}
    row["export_s"] = round(linker.counts.seconds["export"], 2)
    row["weights_s"] = round(linker.counts.seconds["weights"], 2)
    row["weight_bytes"] = binding.weights.size_bytes
    row["scores_bytes"] = scores_bytes(kind, resolve_network(use, lambda file: Path(file.name)).config, target.profile)
    row["fused"] = row["scores_bytes"] is None or row["activation_bytes"] < row["scores_bytes"] * FUSED
    return row


def scores_bytes(kind: str, config: Config, profile: Profile) -> int | None:
    """float16 scores of one self-attention at the finest level that has any, at the largest sizes; None where no fusion
    is expected: the VAE's one head of 512 channels is beyond every fused kernel, the others have short texts."""
    if kind not in ("unet", "unet_core", "unet_control", "unet_core_control"):
        return None
    level = next(n for n, depth in enumerate(config.depths) if depth)
    pixels = (profile.height[1] // LATENT >> level) * (profile.width[1] // LATENT >> level)
    heads: int = config.heads_of(config.widths[level])
    return SIDES * profile.batch[1] * heads * pixels**2 * 2


def table(rows: list[Row]) -> str:
    lines = [f"{'model':<5} {'network':<18} {'layers':>6} {'export s':>9} {'build s':>8} {'weights MB':>11}"
             f" {'engine MB':>10} {'activations MB':>15} {'builder peak GiB':>17}  attention"]  # fmt: skip
    for row in rows:
        scores = row["scores_bytes"]
        verdict = "fused" if row["fused"] else "NOT FUSED"
        peak = (row["builder_peak_rss_bytes"] or 0) / 2**30
        lines.append(
            f"{row['model']:<5} {row['network']:<18} {row['layers']:>6} {row['export_s']:>9.1f} {row['build_s']:>8.1f}"
            f" {row['weight_bytes'] / 1e6:>11.1f} {row['engine_bytes'] / 1e6:>10.1f}"
            f" {row['activation_bytes'] / 1e6:>15.1f} {peak:>17.2f}"
            f"{'' if scores is None else f'  {verdict} (scores {scores / 1e6:.0f} MB)'}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build every network with TensorRT-RTX, at full width.")
    parser.add_argument("--models", default=",".join(MODELS))
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
    rows: list[Row] = []
    for model in (MODELS[name] for name in args.models.split(",")):
        with tempfile.TemporaryDirectory(prefix="comfyc-bench-") as name:
            files = model.write(Path(name))
            for kind in (kind for kind in args.networks.split(",") if kind in model.kinds()):
                rows.append(measure(kind, model, files, backend, target))
                print(f"built {model.name} {kind}: {rows[-1]['build_s']} s", file=sys.stderr, flush=True)
    print(table(rows))
    document = {
        "library": f"tensorrt-rtx {importlib.metadata.version('tensorrt-rtx-cu13-bindings')}",
        "machine": {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "checkpoint": "synthetic weights",
        "targets": list(target.targets), "precision": args.precision, "rows": merged(rows, args.output),
    }  # fmt: skip
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if all(row["fused"] for row in rows) else 1


def merged(rows: list[Row], kept: Path) -> list[Row]:
    """The new rows, and those kept in a file of what was not built now, in the order of the tables."""
    before = json.loads(kept.read_text("utf-8"))["rows"] if kept.is_file() else []
    found = {(row["model"], row["network"]): row for row in [*before, *rows]}
    return [found[name, kind] for name in MODELS for kind in NETWORKS if (name, kind) in found]


if __name__ == "__main__":
    sys.exit(main())
