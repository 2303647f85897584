"""How far the files of a run are from the recorded ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from tests.parity.cases import PIXEL_BOUND, PSNR_BOUND_DB, Case

MOST_PERMUTED = 3


@dataclass(frozen=True)
class Distance:
    """latent: worst absolute error over the recorded standard deviation. pixel: worst, in 1/255. psnr_db: worst.

    problem: why nothing could be compared (a file too few, another shape); empty otherwise.
    """

    latent: float = 0.0
    pixel: int = 0
    psnr_db: float = math.inf
    problem: str = ""

    def within(self, case: Case) -> bool:
        picture_ok = self.psnr_db >= PSNR_BOUND_DB or self.pixel <= PIXEL_BOUND
        return not self.problem and self.latent <= case.latent_bound and picture_ok


def compare(case: Case, latents: Sequence[Path], pictures: Sequence[Path]) -> Distance:
    """Latents matched in the order in which they were written, pictures in the order that fits best: ComfyUI keeps the
    output nodes of a prompt in a set and saves in its order."""
    if len(latents) != len(case.latents) or len(pictures) != len(case.pictures):
        return Distance(
            problem=f"expected {len(case.latents)} latents and {len(case.pictures)} pictures, "
            f"got {len(latents)} and {len(pictures)}"
        )
    latent = 0.0
    for wanted, got in zip(case.latents, latents, strict=True):
        x, y = (load_file(p)["latent_tensor"].astype(np.float64) for p in (wanted, got))
        if x.shape != y.shape:
            return Distance(problem=f"{got.name}: expected shape {x.shape}, got {y.shape}")
        if not np.isfinite(y).all():
            return Distance(math.inf, problem=f"{got.name}: not finite")
        latent = max(latent, float(np.abs(x - y).max() / max(x.std(), 1e-6)))
    orders = permutations(pictures) if len(pictures) <= MOST_PERMUTED else (tuple(pictures),)
    found = [_pictures(case.pictures, order) for order in orders]
    return replace(min(found, key=lambda d: (bool(d.problem), -d.psnr_db)), latent=latent)


def _pictures(recorded: Sequence[Path], pictures: Sequence[Path]) -> Distance:
    pixel, psnr_db = 0, math.inf
    for wanted, got in zip(recorded, pictures, strict=True):
        a, b = (np.asarray(Image.open(p)).astype(np.int32) for p in (wanted, got))
        if a.shape != b.shape:
            return Distance(problem=f"{got.name}: expected size {a.shape}, got {b.shape}")
        error = float(((a - b) ** 2).mean())
        pixel = max(pixel, int(np.abs(a - b).max()))
        psnr_db = min(psnr_db, math.inf if error == 0 else 10 * math.log10(255**2 / error))
    return Distance(0.0, pixel, psnr_db)
