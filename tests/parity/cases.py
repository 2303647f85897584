"""The recorded pictures of ComfyUI that ship with the tests, and how near a run must come to each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
INPUTS = DATA / "inputs"

# which ComfyUI recorded which folder, in the words of --compat
RECORDED = {"goldens": "comfyui-0.3", "goldens_v080": "comfyui-0.8"}

LATENT_BOUND = 1e-3  # of the recorded latent's standard deviation
NOISY_LATENT_BOUND = 5e-3  # for samplers that draw noise inside the loop
NOISY = ("ancestral", "sde", "ddpm", "lcm")
PSNR_BOUND_DB = 60.0
PIXEL_BOUND = 1  # of 255: enough where the 8-bit steps keep the PSNR below its bound


@dataclass(frozen=True)
class Case:
    """One workflow and what ComfyUI wrote for it, in the order in which it wrote."""

    name: str
    folder: Path
    compat: str
    latents: tuple[Path, ...]
    pictures: tuple[Path, ...]
    latent_bound: float

    @property
    def workflow(self) -> Path:
        return self.folder / "workflow.json"

    @property
    def id(self) -> str:
        return self.name if self.compat == "comfyui-0.3" else f"{self.name}@{self.compat.removeprefix('comfyui-')}"


def all_cases() -> tuple[Case, ...]:
    found = []
    for folder, compat in RECORDED.items():
        for meta in sorted((DATA / folder).glob("*/meta.json")):
            found.append(_case(meta.parent, compat))
    return tuple(found)


def case(name: str) -> Case:
    return next(c for c in all_cases() if c.id == name)


def _case(folder: Path, compat: str) -> Case:
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text("utf-8"))
    prompt: dict[str, Any] = json.loads((folder / "workflow.json").read_text("utf-8"))
    samplers = {str(node["inputs"].get("sampler_name", "")) for node in prompt.values()}
    noisy = any(word in sampler for sampler in samplers for word in NOISY)
    files = [folder / f["name"] for f in meta["files"]]
    return Case(
        meta["case"],
        folder,
        compat,
        tuple(f for f in files if f.suffix == ".safetensors"),
        tuple(f for f in files if f.suffix == ".png"),
        NOISY_LATENT_BOUND if noisy else LATENT_BOUND,
    )
