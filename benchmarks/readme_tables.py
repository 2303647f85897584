"""Writes what the last benchmarks and parity runs found into README.md, between its markers.

usage: python -m benchmarks.readme_tables

A marker is <!-- NAME --> ... <!-- /NAME -->; what stands between comes from benchmarks/results/ alone.
"""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench_e2e import COMFYUI
from benchmarks.gpu_table import gpu_table

Json = Any

ROOT = Path(__file__).parents[1]
WIDTH = 120
README, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "results"


def speed() -> str:
    """The end-to-end table, with the machine and the conditions."""
    found = read("e2e.json")
    lines = [
        "| size | | a step | next to eager | VAE decode | next to eager | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        eager = next(r for r in found["rows"] if (r["size"], r["backend"]) == (row["size"], "eager"))
        step, decode = (row[key] / eager[key] for key in ("step_ms", "decode_ms"))
        name = "eager torch" if row is eager else f"comfyc, {row['backend']}"
        lines.append(
            f"| {row['size']} | {name} | {row['step_ms'] / 1000:.2f} s | {step:.2f} |"
            f" {row['decode_ms'] / 1000:.2f} s | {decode:.2f} | {row['peak_rss_gib']:.1f} GiB |"
        )
        if row is not eager and row["size"] in COMFYUI:
            step_s, decode_s = COMFYUI[row["size"]]
            lines.append(f"| {row['size']} | ComfyUI, another machine | {step_s:.1f} s | | {decode_s:.1f} s | | |")
    worst = max(r["distance"]["latent_of_std"] for r in found["rows"])
    pixel = max(r["distance"]["pixel_of_255"] for r in found["rows"])
    conditions = (
        f"Measured on {found['cores']} cores ({found['processor']}) with onnxruntime {found['onnxruntime']} and torch"
        f" {found['torch']}, float32, with a checkpoint of full size; both draw in turn, medians of the warm rounds."
        f" The pictures are at most {pixel}/255 apart, the latents {worst:.0e} of their deviation. ComfyUI's figures"
        " (0.3.64) were recorded on another day on two AVX2 cores: for orientation only."
    )
    lines += [
        "", *textwrap.wrap(conditions, WIDTH), "",
        "| start of a compiled plan | import | open | load networks | to the first step |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in found["start_up"]:
        where = "weights in memory" if row["weights_in_memory"] else "weights on disk"
        lines.append(
            f"| {row['backend']}, {where} | {row['import_s']:.2f} s | {row['open_s']:.2f} s |"
            f" {row['load_s']:.2f} s | {row['to_first_step_s']:.2f} s |"
        )
    first, again = found["compile_s"]["onnxruntime"]
    lines += ["", f"Compiling takes {first:.0f} s, and {again:.1f} s where the store has engines and weights already."]
    return "\n".join(lines)


def graphs() -> str:
    """One sentence about parse, check and passes."""
    rows = read("graph.json")["rows"]
    parts = []
    for size in (1_000, 10_000, 100_000):
        api, ui = (next(r["total"] for r in rows if (r["size"], r["form"]) == (size, form)) for form in ("api", "ui"))
        parts.append(f"{size:,} nodes take {api / 1000:.2f} s in the API form and {ui / 1000:.2f} s in the UI form")
    sentence = "Reading, checking and optimising a workflow on one core: " + "; ".join(parts) + "."
    return "\n".join(textwrap.wrap(sentence, WIDTH))


def parity() -> str:
    """A line for each group of model files and backend."""
    lines = []
    for path in sorted(RESULTS.glob("parity-*.json"), key=lambda path: ("sdxl" in path.name, path.name)):
        found = json.loads(path.read_text("utf-8"))
        ran = [case for case in found["cases"] if case["status"] != "not yet"]
        if not ran:
            continue
        worst = max(ran, key=lambda case: _number(case["distance"]["latent"]))
        peak = found["peak_rss_bytes"]
        lines.append(
            f"{found['group']:<5} {found['backend']:<12} {found['ok']} of {len(ran)} within bounds"
            f" ({found['not_yet']} not yet); worst latent {_number(worst['distance']['latent']):.1e} of std"
            f" ({worst['case']}){'' if peak is None else f'; at most {peak / 2**30:.1f} GiB of memory'}"
        )
        for case in ran:
            if case["flips"]:
                lines.append(
                    f"{'':<18} {case['case']}: with {len(case['flips'])} of {case['eight_bit']} 8-bit values on the"
                    f" other side of its step ({case['latent_as_run']:.1e} without)"
                )
    return "\n".join(["```", *lines, "```"])


def _number(latent: float | None) -> float:
    return math.inf if latent is None else latent


def gpu() -> str:
    """What benchmarks.bench_gpu found."""
    return gpu_table(read("gpu.json"))


SECTIONS: Mapping[str, Callable[[], str]] = {"speed": speed, "gpu": gpu, "graphs": graphs, "parity": parity}


def filled(text: str) -> str:
    """The README with every section as the results say. Raises SystemExit where a marker is missing."""
    for name, section in SECTIONS.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise SystemExit(f"{README} needs one {start} ... {end}")
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n\n{section()}\n\n{end}{rest.partition(end)[2]}"
    return text


def read(name: str) -> Json:
    return json.loads((RESULTS / name).read_text("utf-8"))


def main() -> int:
    README.write_text(filled(README.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
