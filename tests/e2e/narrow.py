"""A small workflow with synthetic models, for tests of compiling and running that take seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.synthetic import write_checkpoint, write_lora
from graphs.examples import example
from tests.small_unet import SMALL, WIDER

Json = Any
LORA_NODE = "20"


def write_models(folder: Path) -> Path:
    """Two checkpoints of one architecture, one of another, and a LoRA for the first two."""
    checkpoints, loras = folder / "checkpoints", folder / "loras"
    checkpoints.mkdir(parents=True)
    loras.mkdir()
    write_checkpoint(checkpoints / "first.safetensors", seed=1, unet=SMALL)
    write_checkpoint(checkpoints / "second.safetensors", seed=2, unet=SMALL)
    write_checkpoint(checkpoints / "wider.safetensors", seed=1, unet=WIDER)
    write_lora(loras / "style.safetensors", unet=SMALL)
    return folder


def workflow(folder: Path, checkpoint: str = "first.safetensors", *, strength: float | None = None) -> Path:
    """The default workflow at 64 pixels and two steps, written as a file. strength: of a LoRA, None without one."""
    prompt: Json = json.loads(example("default", api=True).read_text("utf-8"))
    prompt["4"]["inputs"]["ckpt_name"] = checkpoint
    prompt["5"]["inputs"] |= {"width": 64, "height": 64}
    prompt["3"]["inputs"] |= {"steps": 2, "seed": 7}
    if strength is not None:
        prompt[LORA_NODE] = {"class_type": "LoraLoaderModelOnly", "inputs": {
            "model": ["4", 0], "lora_name": "style.safetensors", "strength_model": strength,
        }}  # fmt: skip
        prompt["3"]["inputs"]["model"] = [LORA_NODE, 0]
    return write(folder / f"{Path(checkpoint).stem}-{strength}.json", prompt)


def write(path: Path, prompt: Json) -> Path:
    path.write_text(json.dumps(prompt), "utf-8")
    return path
