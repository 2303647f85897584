"""The recorded pictures of ComfyUI that ship with the tests, and how near a run must come to each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parity.layouts.files import FILES, GROUPS

Json = Any

DATA = Path(__file__).parent / "data"
INPUTS = DATA / "inputs"

# which ComfyUI recorded which folder, in the words of --compat
RECORDED = {"goldens": "comfyui-0.3", "goldens2": "comfyui-0.3", "goldens_v080": "comfyui-0.8"}

LATENT_BOUND = 1e-3  # of the recorded latent's standard deviation
NOISY_LATENT_BOUND = 5e-3  # for samplers that draw noise inside the loop
NOISY = re.compile(r"ancestral|sde|ddpm|lcm|seeds_|sa_solver")
# dpm_adaptive chooses its sigmas from the sample, and the network sees the nearest of 1000 timesteps. In the recorded
# run one sigma lies 0.1% of a timestep from the border between 775 and 776, so that float32 rounding decides which one
# it is, and with it the length of every later step: 4e-6 on ComfyUI's side of it, 1.1e-2 on the other.
ADAPTIVE_LATENT_BOUND = 2e-2
ADAPTIVE = re.compile(r"dpm_?adapt(at)?ive")
PSNR_BOUND_DB = 60.0
PIXEL_BOUND = 1  # of 255: enough where the 8-bit steps keep the PSNR below its bound


@dataclass(frozen=True)
class Case:
    """One workflow and what ComfyUI wrote for it, in the order in which it wrote.

    files: the model files that it needs, as tests.parity.layouts.files names them. group: the widest of theirs.
    """

    name: str
    folder: Path
    compat: str
    latents: tuple[Path, ...]
    pictures: tuple[Path, ...]
    latent_bound: float
    files: tuple[str, ...] = ()

    @property
    def workflow(self) -> Path:
        return self.folder / "workflow.json"

    @property
    def id(self) -> str:
        return self.name if self.compat == "comfyui-0.3" else f"{self.name}@{self.compat.removeprefix('comfyui-')}"

    @property
    def group(self) -> str:
        return max((FILES[name].group for name in self.files), key=GROUPS.index, default=GROUPS[0])


def all_cases(group: str | None = None) -> tuple[Case, ...]:
    found = []
    for folder, compat in RECORDED.items():
        for workflow in sorted((DATA / folder).glob("*/workflow.json")):
            found.append(_case(workflow, compat))
    return tuple(c for c in found if group in (None, c.group))


def case(name: str) -> Case:
    return next(c for c in all_cases() if c.id == name)


def _case(workflow: Path, compat: str) -> Case:
    prompt: dict[str, Json] = json.loads(workflow.read_text("utf-8"))
    folder = workflow.parent
    return Case(
        folder.name,
        folder,
        compat,
        tuple(sorted(folder.glob("*.safetensors"))),
        tuple(sorted(folder.glob("*.png"))),
        _latent_bound(prompt),
        tuple(sorted(set(_files(prompt)))),
    )


def _latent_bound(prompt: dict[str, Json]) -> float:
    """By the samplers: a sampler_name, or a node such as SamplerEulerAncestral."""
    classes = [n["class_type"].lower() for n in prompt.values() if n["class_type"].startswith("Sampler")]
    samplers = [*classes, *(str(n["inputs"].get("sampler_name", "")) for n in prompt.values())]
    if any(ADAPTIVE.search(sampler) for sampler in samplers):
        return ADAPTIVE_LATENT_BOUND
    return NOISY_LATENT_BOUND if any(NOISY.search(sampler) for sampler in samplers) else LATENT_BOUND


def _files(prompt: dict[str, Json]) -> Iterator[str]:
    """The generated files that the inputs name: by file name, as embedding:NAME in a text, or as `taesd`."""
    texts = [v for node in prompt.values() for v in node["inputs"].values() if isinstance(v, str)]
    words = {word for text in texts for word in re.findall(r"embedding:([\w.-]+)", text)}
    for name in FILES:
        folder, _, file = name.partition("/")
        embedded = folder == "embeddings" and words & {file, file.rpartition(".")[0]}
        if file in texts or embedded or (folder == "vae_approx" and file.partition("_")[0] in texts):
            yield name
