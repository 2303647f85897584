"""README's table of benchmarks/results/gpu.json."""

from __future__ import annotations

import textwrap
from typing import Any

from benchmarks.gpu_cases import CASES

Json = Any
WIDTH = 120
START_LIMIT_S = 8.0  # from the start of a process to SDXL's first picture
COMFYUI_BATCH_S = {("sd15", 8): 1.081}  # seconds of a whole batch, ComfyUI 0.3.64 on an H200
TITLES = {"sd15": "SD1.5", "sdxl": "SDXL"}
PLANS = {
    "eager-fp32": "eager float32", "eager-fp16": "eager float16", "inductor": "inductor", "inductor-b8": "inductor",
    "inductor-controlnet": "inductor, with ControlNet",
}  # fmt: skip


def gpu_table(found: Json) -> str:
    lines = [
        "| model | | a picture | of the limit | of ComfyUI | of diffusers, compiled | VAE decode | first picture |"
        " GPU memory | to float32 |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(row) for row in found["rows"] if row["plan"] in PLANS),
        "", *textwrap.wrap(_conditions(found), WIDTH),
        "", *textwrap.wrap(_switches(found), WIDTH),
        "", *textwrap.wrap(_missed(found), WIDTH),
    ]  # fmt: skip
    return "\n".join(lines)


def _row(row: Json) -> str:
    case, batch = CASES[row["case"]], row["batch"]
    each = row["picture_s"] / batch
    plain = "controlnet" not in row["plan"]
    comfyui = case.comfyui_s if batch == 1 else COMFYUI_BATCH_S[row["case"], batch] / batch
    name = f"{PLANS[row['plan']]}{f', batch {batch}' if batch > 1 else ''}"
    ratios = [
        f"{each / case.limit_s:.2f}" if plain and batch == 1 else "",
        f"{each / comfyui:.2f}" if plain else "",
        f"{each / case.diffusers_s:.2f}" if plain and batch == 1 else "",
    ]
    first = f"{row['start_to_first_picture_s']:.1f} s" if batch == 1 else ""
    far = f"{row['distance']['psnr_db']:.0f} dB" if "distance" in row else ""
    return (
        f"| {TITLES[row['case']]} {row['side']} | {name} | {each:.3f} s | {' | '.join(ratios)} |"
        f" {row['decode_ms'] / batch:.0f} ms | {first} | {row['peak_vram_gib']:.1f} GiB | {far} |"
    )


def _conditions(found: Json) -> str:
    builds = {name: build["compile_s"] for name, build in found["builds"].items()}
    not_run = "; ".join(f"{what}: {why}" if why != "not run" else what for what, why in found["not_run"].items())
    return (
        f"Measured on one {found['device']} with torch {found['torch']}: 20 Euler steps with CFG, medians, from the"
        " request to the pixels on the GPU (a PNG on disk takes 0.05 s more at 512 and 0.2 s at 1024); the first"
        " picture counts from the start of the process, importing torch included; memory is torch's. Weights are"
        " random, of full size. ComfyUI 0.3.64 (0.597 s and 1.082 s, batch 8 of SD1.5 1.081 s) and diffusers 0.42"
        f" compiled (0.132 s and 0.666 s) were measured on an H200. Compiling took {builds['sd15/inductor-b8']:.0f} s"
        f" for SD1.5 with batches 1 and 8 and {builds['sdxl/inductor']:.0f} s for SDXL, each beside other compiles."
        f" Not run: {not_run}."
    )


def _switches(found: Json) -> str:
    parts = []
    for name, rows in found["switches"].items():
        by = {row["to"]: row for row in rows}
        seconds = {to: row["plan_s"] + row["first_s"] for to, row in by.items()}
        assert not any(row["builds"] + row["exports"] for row in rows[1:])
        parts.append(
            f"{TITLES[name.partition('/')[0]]}: {seconds['another checkpoint']:.1f} s with another checkpoint (its"
            f" weights are written to the store the first time), {seconds['two LoRAs']:.1f} s with two LoRAs,"
            f" {seconds['two LoRAs of other strength']:.1f} s with the two at another strength, and"
            f" {seconds['two LoRAs as before']:.1f} s with a mix that was used before"
        )
    sizes = next(row for row in found["rows"] if row["plan"] == "inductor-sizes")
    drawn = ", ".join(f"{size} {row['picture_s']:.2f} s" for size, row in sizes["sizes"].items())
    return (
        f"In a process that draws, without building anything, from the workflow to the PNG: {'; '.join(parts)}. One"
        f" SD1.5 plan for 512 to 768 pixels draws 512x512 in {sizes['picture_s']:.2f} s, {drawn}."
    )


def _missed(found: Json) -> str:
    missed = []
    for row in found["rows"]:
        case = CASES[row["case"]]
        if row["plan"] not in ("inductor", "inductor-b8") or row["batch"] > 1:
            continue
        title = TITLES[row["case"]]
        if row["picture_s"] > case.limit_s:
            missed.append(f"{title} {row['picture_s']:.3f} s in place of {case.limit_s:g}")
        if case.decode_limit_ms is not None and row["decode_ms"] > case.decode_limit_ms:
            missed.append(f"{title}'s VAE {row['decode_ms']:.0f} ms in place of {case.decode_limit_ms:g}")
        first = row["start_to_first_picture_s"]
        if row["case"] == "sdxl" and first > START_LIMIT_S:
            missed.append(f"{title}'s first picture after {first:.1f} s in place of {START_LIMIT_S:g}")
    return f"Aims that were missed: {'; '.join(missed)}." if missed else "Every aim was met."
