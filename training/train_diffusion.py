"""Trains the text encoder and the U-Net together, in runs that go on where the last one stopped.

usage: python -m training.train_diffusion --state DIR --seconds 500 --total-seconds 1500 [--tiny]

Eps-prediction on Stable Diffusion 1's noise table. Each drawn picture is encoded once and used a few times, with fresh
noise. Source of the objective: Ho et al. 2020 (DDPM), eq. 14; text dropped for guidance: Ho & Salimans 2022.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.feed import Chunk, chunks
from training.layout import LayoutReader
from training.model import LATENT_SCALE, Diffusion, Vae, initialise, noise_table, shipped, tiny
from training.render import Renderer
from training.state import Mean, has_parts, load_parts, pack_state, save_parts, unpack_state
from training.tokens import known, lookup, rows_of
from training.train_vae import load_vae, rate_at

NAME = "diffusion"
DROP_TEXT = 0.1
_HEAVIEST = 12.0  # the most that a noisy timestep counts


@dataclass(frozen=True)
class Examples:
    """latents: (N, 4, h, w) scaled to unit variance; tokens: (N, 77); things: as training.render.encode gives them."""

    latents: Tensor
    tokens: Tensor
    things: Tensor


class Pool:
    """Examples from a stream of chunks: each encoded once, used `passes` times in shuffled batches."""

    def __init__(self, vae: Vae, renderer: Renderer, source: Iterator[Chunk], passes: int, chunk_count: int) -> None:
        self.vae, self.renderer, self.source = vae, renderer, source
        self.passes, self.chunk_count = passes, chunk_count

    @torch.no_grad()
    def encode(self, chunk: Chunk) -> Examples:
        device, latents = self.renderer.device, []
        for start in range(0, len(chunk.tokens), 256):
            picture = self.renderer(chunk.batch.part(start, 256)).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                latents.append((self.vae.moments(picture)[0] * LATENT_SCALE).float())
        tokens, things = (torch.from_numpy(a).to(device) for a in (chunk.tokens, chunk.batch.things))
        return Examples(torch.cat(latents), tokens, things)

    def batches(self, size: int) -> Iterator[Examples]:
        while True:
            parts = [self.encode(next(self.source)) for _ in range(self.chunk_count)]
            latents, tokens = torch.cat([p.latents for p in parts]), torch.cat([p.tokens for p in parts])
            things = torch.cat([p.things for p in parts])
            for _ in range(self.passes):
                order = torch.randperm(len(latents), device=latents.device)
                for picks in torch.split(order[: len(order) // size * size], size):
                    yield Examples(latents[picks], tokens[picks], things[picks])


class Objective:
    """The loss of one batch. early: the share of examples drawn from the noisiest sixth of the timesteps, beyond the
    usual. empty: (77,) tokens of the empty text."""

    def __init__(self, device: torch.device, early: float = 0.0) -> None:
        self.early = early
        table = noise_table()
        self.signal = (1 / (table.sigmas**2 + 1)).sqrt().to(device)  # sqrt of the cumulative product of 1 - beta
        self.empty = torch.from_numpy(lookup()[rows_of([""])])[0].to(device)

    def timesteps(self, count: int) -> Tensor:
        """Two thirds evenly, stratified; one third among the noisier half, where the layout is decided."""
        device = self.signal.device
        even = (torch.arange(count, device=device) + torch.rand(count, device=device)) / count
        noisy = 1 - 0.5 * torch.rand(count, device=device) ** 1.5
        share = torch.where(torch.rand(count, device=device) < 1 / 3, noisy, even)
        noisiest = 1 - torch.rand(count, device=device) / 6
        share = torch.where(torch.rand(count, device=device) < self.early, noisiest, share)
        return (share * len(self.signal)).long().clamp(0, len(self.signal) - 1)

    def draw(self, examples: Examples) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """x, timesteps, tokens with some dropped, noise, weights. Weights turn the loss on eps into that on v, up to
        a bound: an error in eps is an error in the picture times the noise level."""
        count, device = len(examples.latents), examples.latents.device
        t = self.timesteps(count)
        signal = self.signal[t][:, None, None, None]
        noise = torch.randn_like(examples.latents)
        x = examples.latents * signal + noise * (1 - signal**2).sqrt()
        dropped = (torch.rand(count, device=device) < DROP_TEXT)[:, None]
        tokens = torch.where(dropped, self.empty, examples.tokens)
        weights = (1 / self.signal[t] ** 2).clamp(max=_HEAVIEST)
        return x, t.float(), tokens, noise, weights

    @staticmethod
    def loss(eps: Tensor, noise: Tensor, weights: Tensor) -> Tensor:
        return ((eps.float() - noise).square().mean(dim=(1, 2, 3)) * weights).mean()


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train the demo model's text encoder and U-Net.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=500, help="of this run, saving included")
    parser.add_argument("--total-seconds", type=float, default=1500, help="of all runs: what the learning rate follows")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--restart", action="store_true", help="the learning rate starts anew")
    parser.add_argument("--decay", type=float, default=0.9995, help="of the running mean of weights")
    parser.add_argument("--pairs", type=float, default=0.0, help="share of relations beyond the usual")
    parser.add_argument("--early", type=float, default=0.0, help="share of the noisiest timesteps beyond the usual")
    parser.add_argument("--layout", type=float, default=0.01, help="weight of the layout questions; 0 asks none")
    parser.add_argument("--tiny", action="store_true")
    return parser


class Training:
    """Model, optimiser and mean, restored from the state folder where it holds one."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.size = (tiny if args.tiny else shipped)(len(known()) + 1)
        self.model = Diffusion(self.size).to(self.device)
        initialise(self.model)
        if self.device.type == "cuda":
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = dict(self.model.named_parameters())
        self.reader = LayoutReader(self.size.text.width).to(self.device)
        groups = [{"params": list(part.parameters())} for part in (self.model, self.reader)]
        self.optimizer = torch.optim.AdamW(groups, args.rate, betas=(0.9, 0.99), weight_decay=1e-3)
        self.mean = Mean(self.parameters, args.decay)
        self.step, self.spent = 0, 0.0
        if has_parts(args.state, NAME):
            tensors, facts = load_parts(args.state, NAME)
            self.step, self.spent = int(facts["step"]), 0.0 if args.restart else facts["seconds"]
            unpack_state(tensors, self.parameters, self.mean, self.optimizer, self.step)

    def pool(self) -> Pool:
        vae = Vae(self.size.vae).to(self.device)
        load_vae(self.args.state, vae)
        if self.device.type == "cuda":
            vae = vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        args = self.args
        source = chunks(1000 + self.step, args.workers, args.pairs)
        return Pool(vae, Renderer(self.device, side=self.size.side), source, args.passes, args.chunks)

    def run(self) -> None:
        args, began, objective = self.args, time.monotonic(), Objective(self.device, self.args.early)
        total, recent = torch.zeros((), device=self.device), 0
        for examples in self.pool().batches(args.batch):
            spent = time.monotonic() - began
            if spent >= args.seconds:
                break
            for group in self.optimizer.param_groups:
                group["lr"] = rate_at((self.spent + spent) / args.total_seconds, args.rate)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                loss, extra = self._losses(objective, examples)
            self.optimizer.zero_grad(set_to_none=True)
            (loss + extra).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
            self.optimizer.step()
            self.mean.update(self.parameters, self.step)
            self.step, recent, total = self.step + 1, recent + 1, total + loss.detach()
            if self.step % 200 == 0:
                rate = self.optimizer.param_groups[0]["lr"]
                extra_text = f"layout {float(extra.detach()) / max(args.layout, 1e-9):.3f}"
                print(f"step {self.step} loss {float(total) / recent:.4f} {extra_text} rate {rate:.1e} {spent:.0f} s",
                      flush=True)  # fmt: skip
                total, recent = torch.zeros_like(total), 0
        self._save(began)

    def _losses(self, objective: Objective, examples: Examples) -> tuple[Tensor, Tensor]:
        x, t, tokens, noise, weights = objective.draw(examples)
        hidden = self.model.context(tokens)
        loss = objective.loss(self.model.unet(x, t, hidden), noise, weights)
        if not self.args.layout:
            return loss, torch.zeros_like(loss)
        said = (tokens == examples.tokens).all(dim=1)
        return loss, self.args.layout * self.reader.loss(hidden[said], examples.things[said])

    def _save(self, began: float) -> None:
        self.spent += time.monotonic() - began
        facts = {"step": self.step, "seconds": self.spent}
        save_parts(self.args.state, NAME, pack_state(self.parameters, self.mean, self.optimizer), facts)
        print(f"saved at step {self.step}, {self.spent:.0f} s in all", flush=True)


def main(argv: list[str] | None = None) -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(int(time.time()))
    Training(arguments().parse_args(argv)).run()


if __name__ == "__main__":
    main()
