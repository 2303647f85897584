"""What benchmarks.bench_gpu measures: models of full size with random weights, workflows, plans."""

from __future__ import annotations

import functools
import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import synthetic
from benchmarks.gpu_worker import CHECKPOINT, LATENT, SAMPLER
from compiler.families import SD1, SDXL, Family
from compiler.networks.text import TextConfig
from compiler.networks.unet_config import UNetConfig
from compiler.networks.vae import VaeConfig
from graphs.examples import example

Prompt = dict[str, Any]
STEPS = 20
HINT = "hint.png"


@dataclass(frozen=True)
class Case:
    """limit_s: of a picture of batch 1, the aim. comfyui_s, diffusers_s: what ComfyUI 0.3.64, and diffusers 0.42
    compiled, take for it on an H200. decode_limit_ms: of the VAE's decoder, where there is an aim."""

    family: Family
    configs: Mapping[str, Any]
    side: int
    limit_s: float
    comfyui_s: float
    diffusers_s: float
    decode_limit_ms: float | None = None


CASES = {
    "sd15": Case(
        SD1, {"unet": UNetConfig(), "vae": VaeConfig(), "clip_l": TextConfig()}, 512, 0.125, 0.597, 0.132,
    ),
    "sdxl": Case(
        SDXL,
        {
            "unet": UNetConfig(
                widths=(320, 640, 1280), res_blocks=(2, 2, 2), depths=(0, 2, 10), middle_depth=10, context_width=2048,
                heads=None, linear_projection=True, vector_width=2816,
            ),
            "vae": VaeConfig(),
            "clip_l": TextConfig(),
            "clip_g": TextConfig(width=1280, layers=32, inner=5120, activation="gelu", projection=1280),
        },
        1024, 0.62, 1.082, 0.666, 26.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class PlanKind:
    """options: of `comfyc compile`, without the size. workflow: a key of WORKFLOWS. sides: (least, most), in place of
    the case's side."""

    options: tuple[str, ...]
    workflow: str = "plain"
    batch: str = "1"
    sides: tuple[int, int] | None = None


_EAGER = ("--backend", "eager", "--device", "cuda", "--precision")
_INDUCTOR = ("--backend", "inductor")
REFERENCE = "eager-fp32"
PLANS = {
    REFERENCE: PlanKind((*_EAGER, "fp32")),
    "eager-fp16": PlanKind((*_EAGER, "fp16")),
    "inductor": PlanKind(_INDUCTOR),
    "inductor-b8": PlanKind(_INDUCTOR, batch="1:8"),
    "inductor-b4": PlanKind(_INDUCTOR, batch="1:4"),
    "inductor-sizes": PlanKind(_INDUCTOR, sides=(512, 768)),
    "inductor-controlnet": PlanKind(_INDUCTOR, "controlnet"),
    "inductor-loras": PlanKind(_INDUCTOR, "loras"),
    "eager-fp32-controlnet": PlanKind((*_EAGER, "fp32"), "controlnet"),
}


def reference_of(plan: str) -> str:
    """The plan whose picture another one's is compared with."""
    return f"{REFERENCE}-controlnet" if plan.endswith("controlnet") else REFERENCE


def write_files(name: str, models: Path, workflow: str = "plain", checkpoint: int = 0) -> None:
    """What a workflow names, in a folder of models: a checkpoint, two LoRAs, a ControlNet and its hint. Files that are
    there stay. Weights are drawn on the GPU: the counter-based draws of synthetic take minutes for SDXL."""
    case = CASES[name]
    _once(models / "checkpoints" / f"{name}-{checkpoint}.safetensors", lambda path: synthetic.write_family(
        path, case.family, case.configs, seed=checkpoint, draw=drawn_on_gpu,
    ))  # fmt: skip
    if workflow == "loras":
        for number in (0, 1):
            _once(models / "loras" / f"{name}-{number}.safetensors", functools.partial(
                synthetic.write_lora, unet=case.configs["unet"], rank=16, seed=number, draw=drawn_on_gpu,
            ))  # fmt: skip
    if workflow == "controlnet":
        _once(models / "controlnet" / f"{name}.safetensors", functools.partial(
            synthetic.write_controlnet, unet=case.configs["unet"], draw=drawn_on_gpu,
        ))  # fmt: skip
        _once(models.parent / "input" / HINT, _write_hint)


def drawn_on_gpu(name: str, shape: tuple[int, ...]) -> synthetic.Array:
    import torch

    generator = torch.Generator("cuda").manual_seed(zlib.crc32(name.encode()))
    drawn = torch.randn(math.prod(shape), generator=generator, device="cuda")
    return drawn.cpu().numpy().reshape(shape)


def _once(path: Path, write: Callable[[Path], None]) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)


def _write_hint(path: Path) -> None:
    from PIL import Image

    y, x = np.mgrid[0:512, 0:512]
    lines = ((x // 64 + y // 64) % 2 * 255).astype(np.uint8)
    Image.fromarray(np.stack([lines] * 3, -1)).save(path)


def prompt(name: str, workflow: str = "plain", *, checkpoint: int = 0, strength: float = 0.8) -> Prompt:
    """A workflow in the API form: the default one at the case's size, with what WORKFLOWS adds."""
    found: Prompt = json.loads(example("default", api=True).read_text("utf-8"))
    side = CASES[name].side
    found[CHECKPOINT]["inputs"]["ckpt_name"] = f"{name}-{checkpoint}.safetensors"
    found[LATENT]["inputs"].update(width=side, height=side)
    found[SAMPLER]["inputs"].update(steps=STEPS, sampler_name="euler", scheduler="normal", cfg=7.0)
    WORKFLOWS[workflow](found, name, strength)
    return found


def _plain(found: Prompt, name: str, strength: float) -> None:
    pass


def _loras(found: Prompt, name: str, strength: float) -> None:
    """Two LoRAs, one on the other, on the U-Net and the text encoders."""
    model, clip = [CHECKPOINT, 0], [CHECKPOINT, 1]
    for number in (0, 1):
        found[f"2{number}"] = {"class_type": "LoraLoader", "inputs": {
            "model": model, "clip": clip, "lora_name": f"{name}-{number}.safetensors", "strength_model": strength,
            "strength_clip": strength,
        }}  # fmt: skip
        model, clip = [f"2{number}", 0], [f"2{number}", 1]
    found[SAMPLER]["inputs"]["model"] = model
    for node in found.values():
        if node["class_type"] == "CLIPTextEncode":
            node["inputs"]["clip"] = clip


def _controlnet(found: Prompt, name: str, strength: float) -> None:
    sides = found[SAMPLER]["inputs"]
    found["30"] = {"class_type": "ControlNetLoader", "inputs": {"control_net_name": f"{name}.safetensors"}}
    found["31"] = {"class_type": "LoadImage", "inputs": {"image": HINT}}
    found["32"] = {"class_type": "ControlNetApplyAdvanced", "inputs": {
        "positive": sides["positive"], "negative": sides["negative"], "control_net": ["30", 0], "image": ["31", 0],
        "strength": strength, "start_percent": 0.0, "end_percent": 1.0,
    }}  # fmt: skip
    sides.update(positive=["32", 0], negative=["32", 1])


WORKFLOWS: Mapping[str, Callable[[Prompt, str, float], None]] = {
    "plain": _plain,
    "loras": _loras,
    "controlnet": _controlnet,
}
