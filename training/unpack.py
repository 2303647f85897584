"""Makes training state of the files that ship, so that training can go on from them.

usage: python -m training.unpack --state DIR

What `training.pack` left out is gone: weights start from their running mean, in float16, and the optimiser anew. Then,
for example: python -m training.train_diffusion --state DIR --restart --seconds 500 --total-seconds 500 ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from comfyc.demo_model import CONTOURS, OUTLINES, PASTEL, SHAPES, STARRY_NIGHT, TOKEN_TABLE, WEIGHTS
from training.model import PREFIXES
from training.state import save_parts
from training.train_diffusion import NAME


def parts_of(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Part -> its tensors, with the short token table in its place."""
    tensors = dict(tensors)
    del tensors["token_ids"]
    tensors[TOKEN_TABLE] = torch.cat([tensors.pop("token_other")[None], tensors.pop("token_rows")])
    return {
        part: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        for part, prefix in PREFIXES.items()
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make training state of the demo model's files.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    args = parser.parse_args(argv)
    parts = parts_of(load_file(args.weights / SHAPES))
    trained = {f"{part}.{k}": v for part in ("text", "unet") for k, v in parts[part].items()}
    both = {f"{kind}.{name}": value.clone() for name, value in trained.items() for kind in ("weight", "mean")}
    save_parts(args.state, NAME, both, {"step": 0, "seconds": 0.0})
    save_parts(args.state, "vae-final", {k: v.float() for k, v in parts["vae"].items()})
    unet = parts["unet"]
    encoder = {k: v for k, v in unet.items() if k.startswith(("time_embed.", "input_blocks.", "middle_block."))}
    pastel = load_file(args.weights / PASTEL)
    extras = {
        "style": {k.removeprefix(PREFIXES["unet"]): v for k, v in pastel.items()},
        "control": encoder | load_file(args.weights / CONTOURS),
        "lora": load_file(args.weights / OUTLINES),
        "inversion": load_file(args.weights / STARRY_NIGHT),
    }
    for name, tensors in extras.items():
        save_parts(args.state, name, tensors, {"step": 0})


if __name__ == "__main__":
    main()
