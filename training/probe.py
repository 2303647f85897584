"""Scores the weights in training on held-out captions, all on one device, and draws a sheet of them.

usage: python -m training.probe --state DIR [--count 512] [--cfg 2,4,6] [--sheet FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.captions import caption
from training.model import Vae, shipped, tiny
from training.sampling import load_model, sample
from training.scenes import Scene, draw_scene
from training.score import compare, read, totals
from training.tokens import known
from training.train_vae import load_vae


def held_out(count: int, seed: int = 7, pairs: float = 0.0) -> tuple[list[Scene], list[str]]:
    """Scenes that were never trained on, and a caption for each that leaves nothing out. pairs: see draw_scene."""
    rng = np.random.default_rng(seed)
    scenes = [draw_scene(rng, held_out=True, pairs=pairs) for _ in range(count)]
    return scenes, [caption(rng, scene, plain=True) for scene in scenes]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Score the demo model in training.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--cfg", default="4")
    parser.add_argument("--which", default="mean")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = (tiny if args.tiny else shipped)(len(known()) + 1)
    vae = Vae(size.vae).to(device).eval()
    load_vae(args.state, vae)
    model = load_model(args.state, size, device, args.which)
    scenes, texts = held_out(args.count)
    for cfg in (float(c) for c in args.cfg.split(",")):
        pictures = torch.cat([
            sample(model, vae, texts[i : i + 128], size.side, cfg=cfg, seed=i) for i in range(0, args.count, 128)
        ]).permute(0, 2, 3, 1).cpu().numpy()  # fmt: skip
        scores = totals([compare(s, read(p)) for s, p in zip(scenes, pictures, strict=True)])
        print(f"{args.which} cfg {cfg:g}: " + " ".join(f"{k} {v:.1f}" for k, v in scores.items()), flush=True)
    if args.sheet:
        rows = (pictures[:36].reshape(6, 6, size.side, size.side, 3).transpose(0, 2, 1, 3, 4) * 255).astype(np.uint8)
        Image.fromarray(rows.reshape(6 * size.side, 6 * size.side, 3)).resize((1152, 1152)).save(args.sheet, quality=88)
        print("\n".join(texts[:36]), flush=True)


if __name__ == "__main__":
    main()
