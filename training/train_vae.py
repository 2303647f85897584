"""Trains the VAE: pictures to 4 channels at an eighth of the size, and back.

usage: python -m training.train_vae --state DIR --seconds 300 [--tiny]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from training.feed import Chunk, chunks
from training.model import LATENT_SCALE, Vae, initialise, shipped, tiny
from training.palette import pastel, table
from training.render import Batch, Renderer
from training.state import Mean, load_parts, pack_state, save_parts
from training.tokens import known

NAME = "vae"


class Pictures:
    """Drawn batches in every style the decoder must know: mostly the base style, some outlines, some pastel, some
    with a gradient over them, so that it copes with pictures that are not ours."""

    def __init__(self, device: torch.device, side: int) -> None:
        self.base = Renderer(device, side=side)
        self.others = (
            Renderer(device, outlines=True, side=side), Renderer(device, colours=pastel(table()), side=side),
        )  # fmt: skip

    def __call__(self, batch: Batch, step: int) -> Tensor:
        style = step % 8
        picture = self.others[style](batch) if style < 2 else self.base(batch)
        if style == 2:
            picture = torch.lerp(picture, _gradients(picture), 0.6 * _gradients(picture))
        return picture


def _gradients(like: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1]: a random linear gradient for each picture and channel."""
    corners = torch.rand(like.shape[0], 3, 2, 2, device=like.device)
    return F.interpolate(corners, size=like.shape[-2:], mode="bilinear", align_corners=True)


def loss_of(vae: Vae, picture: Tensor) -> Tensor:
    mean, log_variance = vae.moments(picture)
    latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    out = vae.decode(latent).float()
    difference = out - picture
    edges = sum((torch.diff(out, dim=d) - torch.diff(picture, dim=d)).abs().mean() for d in (2, 3))
    mean, log_variance = mean.float(), log_variance.float()
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    return difference.abs().mean() + 2 * (difference**2).mean() + 0.7 * torch.as_tensor(edges) + 2e-4 * divergence


def rate_at(share: float, peak: float, warm: float = 0.03) -> float:
    """Learning rate after a share of the time: up, then down along a cosine to a hundredth."""
    if share < warm:
        return peak * max(share / warm, 0.01)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warm) / (1 - warm)))))


@torch.no_grad()
def normalise(vae: Vae, pictures: Tensor) -> None:
    """Shifts and scales each latent channel to mean 0 and to the variance that Stable Diffusion's scale makes 1."""
    means = torch.cat([vae.moments(part)[0].float() for part in torch.split(pictures, 64)])
    centre, spread = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3)) * LATENT_SCALE
    first, last = vae.quant_conv, vae.post_quant_conv
    assert first.bias is not None
    assert last.bias is not None
    last.bias += last.weight[:, :, 0, 0] @ centre
    last.weight *= spread[None, :, None, None]
    first.weight[:4] /= spread[:, None, None, None]
    first.bias[:4] = (first.bias[:4] - centre) / spread
    first.bias[4:] -= 2 * spread.log()


def psnr_db(vae: Vae, pictures: Tensor) -> float:
    with torch.no_grad():
        error = [(vae.decode(vae.moments(p)[0]).clamp(0, 1) - p).square().mean() for p in torch.split(pictures, 64)]
    return -10 * math.log10(float(torch.stack(error).mean()))


def load_vae(folder: Path, vae: Vae) -> None:
    """The trained, normalised VAE."""
    vae.load_state_dict({k: v.float() for k, v in load_parts(folder, "vae-final")[0].items()})


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the demo model's VAE.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--batch", type=int, default=64, help="pictures drawn at a time")
    parser.add_argument("--crops", type=float, default=0.7, help="share of the time spent on quarters of pictures")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    size = (tiny if args.tiny else shipped)(len(known()) + 1)
    vae = Vae(size.vae).to(device)
    initialise(vae)
    if device.type == "cuda":
        vae = vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = dict(vae.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values(), args.rate, betas=(0.9, 0.98), weight_decay=0.0)
    mean = Mean(parameters, 0.998)
    pictures = Pictures(device, size.side)
    step, began = 0, time.monotonic()
    for chunk, start in _starts(args):
        drawn = pictures(chunk.batch.part(start, args.batch), start // args.batch)
        share = (time.monotonic() - began) / args.seconds
        for picture in _pieces(drawn, quarters=share < args.crops):
            share = (time.monotonic() - began) / args.seconds
            for group in optimizer.param_groups:
                group["lr"] = rate_at(share, args.rate)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = loss_of(vae, picture)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimizer.step()
            mean.update(parameters, step)
            step += 1
            if step % 500 == 0:
                print(f"vae step {step} loss {float(loss.detach()):.5f} {time.monotonic() - began:.0f} s", flush=True)
        if share >= 1:
            break
    _finish(args.state, vae, parameters, mean, optimizer, pictures, chunk.batch)


def _starts(args: argparse.Namespace) -> Iterator[tuple[Chunk, int]]:
    for chunk in chunks(1, args.workers):
        for start in range(0, len(chunk.tokens), args.batch):
            yield chunk, start


def _pieces(drawn: Tensor, *, quarters: bool) -> list[Tensor]:
    """Batches to step on. Quarters: cheaper steps, for most of the time; whole pictures: what the norms will see."""
    side = drawn.shape[-1] // 2
    if not quarters:
        return [p.contiguous(memory_format=torch.channels_last) for p in drawn.chunk(4)]
    cut = torch.cat([drawn[:, :, y : y + side, x : x + side] for y in (0, side) for x in (0, side)])
    order = torch.randperm(len(cut), device=cut.device)
    return [cut[picks].contiguous(memory_format=torch.channels_last) for picks in order.chunk(8)]


def _finish(
    folder: Path, vae: Vae, parameters: Mapping[str, Tensor], mean: Mean, optimizer: torch.optim.Optimizer,
    pictures: Pictures, batch: Batch,
) -> None:  # fmt: skip
    save_parts(folder, NAME, pack_state(parameters, mean, optimizer))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(mean.values[name])
    sample = torch.cat([pictures.base(batch.part(start, 64)) for start in range(0, 512, 64)])
    print(f"vae PSNR {psnr_db(vae, sample[:256]):.2f} dB before", flush=True)
    normalise(vae, sample)
    print(f"vae PSNR {psnr_db(vae, sample[:256]):.2f} dB normalised", flush=True)
    save_parts(folder, "vae-final", {k: v.float() for k, v in vae.state_dict().items()})


if __name__ == "__main__":
    main()
