"""Writes the trained weights as the files that ship: float16, nothing twice.

usage: python -m training.pack --state DIR [--out comfyc/demo_model/weights]

What `comfyc.demo_model` makes ordinary model files of again:
  shapes.safetensors        the checkpoint in its original key layout; of the token table only the rows that captions
                            use (`token_rows`) and one for all others (`token_other`), with the ids (`token_ids`)
  pastel.safetensors        the tensors of the second checkpoint that differ from the first one's
  contours.safetensors      the tensors of the ControlNet that differ from the U-Net's
  outlines.safetensors, starry-night.safetensors    the LoRA and the textual inversion as they are used
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from comfyc.demo_model import CONTOURS, OUTLINES, PASTEL, SHAPES, STARRY_NIGHT, TOKEN_TABLE, WEIGHTS
from training.model import PREFIXES
from training.state import load_parts
from training.tokens import known


def base_tensors(folder: Path) -> dict[str, Tensor]:
    """The first checkpoint under its keys, with the short token table under the table's own key."""
    trained, _ = load_parts(folder, "diffusion")
    tensors = {}
    for name, value in trained.items():
        kind, _, rest = name.partition(".")
        part, _, key = rest.partition(".")
        if kind == "mean":
            tensors[PREFIXES[part] + key] = value
    vae, _ = load_parts(folder, "vae-final")
    return tensors | {PREFIXES["vae"] + key: value for key, value in vae.items()}


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    halves = {key: value.half() for key, value in tensors.items()}
    table = halves.pop(TOKEN_TABLE)
    halves |= {"token_other": table[0].clone(), "token_rows": table[1:].clone()}
    halves["token_ids"] = torch.tensor(known(), dtype=torch.int32)
    return halves


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write the demo model's files.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    base = base_tensors(args.state)
    unet = {k.removeprefix(PREFIXES["unet"]): v for k, v in base.items() if k.startswith(PREFIXES["unet"])}
    control, _ = load_parts(args.state, "control")
    files = {
        SHAPES: packed(base),
        PASTEL: {PREFIXES["unet"] + k: v for k, v in load_parts(args.state, "style")[0].items()},
        CONTOURS: {k: v for k, v in control.items() if k not in unet or not torch.equal(v, unet[k].half())},
        OUTLINES: load_parts(args.state, "lora")[0],
        STARRY_NIGHT: load_parts(args.state, "inversion")[0],
    }
    total = 0
    for name, tensors in files.items():
        path = args.out / name
        save_file({k: v.contiguous() for k, v in sorted(tensors.items())}, path, metadata={"licence": "Apache-2.0"})
        total += path.stat().st_size
        print(f"{path.stat().st_size / 1e6:7.2f} MB  {path}")
    print(f"{total / 1e6:7.2f} MB  in all")


if __name__ == "__main__":
    main()
