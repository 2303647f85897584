"""Noise: the initial one, and what ancestral and SDE samplers draw inside the loop.

All of it is drawn on the host, in float32, and then moved: a seed gives the same picture on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from graphs.errors import RunError
from graphs.plan import COMPATS

if TYPE_CHECKING:
    from torch import Tensor

# (sigma, next sigma), both 0-dim float32 on the host -> unit-variance noise of the latent's shape, on its device
StepNoise = Callable[["Tensor", "Tensor"], "Tensor"]

SEEDS = 2**64


def host_generator(seed: int) -> torch.Generator:
    """The host's Mersenne Twister at a 64-bit seed. Raises RunError for a seed outside 0 .. 2^64 - 1."""
    if not 0 <= seed < SEEDS:
        raise RunError("seed out of range", expected="0 to 18446744073709551615", got=str(seed))
    return torch.Generator("cpu").manual_seed(seed)


def initial_noise(shape: Sequence[int], seed: int, batch_index: Sequence[int] | None = None) -> Tensor:
    """The noise a run starts from. shape: (B, C, h, w) -> float32 of that shape, on the host.

    One draw covers the whole batch. With batch_index (samples picked out of a larger batch) each index is drawn by
    itself, in order, so that a sample keeps its noise whichever others are in the batch with it."""
    generator = host_generator(seed)
    if batch_index is None:
        return torch.randn(tuple(shape), generator=generator)
    if len(batch_index) != shape[0]:
        raise RunError("batch_index does not fit the latent", expected=f"{shape[0]} indices", got=str(len(batch_index)))
    wanted = set(batch_index)
    drawn: dict[int, Tensor] = {}
    for index in range(max(wanted) + 1):
        sample = torch.randn((1, *shape[1:]), generator=generator)
        if index in wanted:
            drawn[index] = sample
    return torch.cat([drawn[index] for index in batch_index])


def step_seed(seed: int, compat: str) -> int:
    """The seed of the noise inside the loop.

    ComfyUI 0.3 uses the run's seed, which repeats the initial noise in the first step; 0.8 adds one (modulo 2^64
    here, where ComfyUI fails at the last seed). Raises RunError for an unknown compat."""
    if compat not in COMPATS:
        raise RunError("unknown compat", expected=" or ".join(COMPATS), got=repr(compat))
    return seed if compat == "comfyui-0.3" else (seed + 1) % SEEDS


def independent_noise(like: Tensor, seed: int) -> StepNoise:
    """Each call draws fresh noise, whatever the sigmas: what ancestral samplers use. seed: see step_seed."""
    generator = host_generator(seed)

    def draw(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like.device, non_blocking=True)

    return draw
