"""Pictures from the weights in training: the product's sampler and schedule over the torch modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from runtime.sampling.sampler import Prediction, Sampler
from runtime.sampling.samplers import sampler
from runtime.sampling.sigmas import normal
from training.model import LATENT_SCALE, Diffusion, Size, Vae, noise_table
from training.state import load_parts
from training.tokens import lookup, rows_of

Eps = Callable[[Tensor, Tensor, Tensor], Tensor]  # x, timesteps, context -> eps


def load_model(folder: Path, size: Size, device: torch.device, which: str = "mean") -> Diffusion:
    """The weights in training ("weight") or their running mean."""
    model = Diffusion(size).to(device).eval()
    tensors, _ = load_parts(folder, "diffusion")
    model.load_state_dict({k: tensors[f"{which}.{k}"].float() for k in model.state_dict()})
    return model


@torch.no_grad()
def sample(
    model: Diffusion, vae: Vae, texts: Sequence[str], side: int, *, cfg: float = 4.0, steps: int = 20, seed: int = 0,
    eps: Eps | None = None, tokens: Tensor | None = None,
) -> Tensor:
    """(B, 3, side, side) in [0, 1]: euler on the normal schedule, as the default workflow samples. eps: another
    predictor than the plain U-Net, for ControlNets and the like; it gets uncond and cond in one batch."""
    device = next(model.parameters()).device
    table, predict = noise_table(), eps or model.unet
    rows = torch.from_numpy(lookup()[rows_of(texts)]).to(device) if tokens is None else tokens
    empty = torch.from_numpy(lookup()[rows_of([""])]).to(device)
    count = len(rows)
    context = torch.cat([model.context(empty).expand(count, -1, -1), model.context(rows)])
    generator = torch.Generator(device=device).manual_seed(seed)
    noise = torch.randn(count, 4, side // 8, side // 8, generator=generator, device=device)
    sigmas = normal(table, steps)
    x = noise * (1 + sigmas[0] ** 2).sqrt()

    def denoise(x: Tensor, sigma: Tensor) -> Prediction:
        scaled = table.scale_input(x, sigma)
        timesteps = torch.full((2 * count,), float(table.timestep(sigma)), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            out = predict(torch.cat([scaled, scaled]), timesteps, context).float()
        uncond, cond = (table.denoised(x, part, sigma) for part in out.chunk(2))
        return Prediction(uncond + (cond - uncond) * cfg, uncond)

    latent = _driven(sampler("euler").start(x, sigmas, None, table), denoise)
    return torch.cat([vae.decode(part / LATENT_SCALE).clamp(0, 1) for part in torch.split(latent, 64)])


def _driven(running: Sampler, denoise: Callable[[Tensor, Tensor], Prediction]) -> Tensor:
    """The sample at the end, each query answered at once."""
    try:
        query = next(running)
        while True:
            query = running.send(denoise(*query))
    except StopIteration as end:
        latent: Tensor = end.value
        return latent
