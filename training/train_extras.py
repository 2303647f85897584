"""Trains what goes with the demo model, each on the finished model, whose own weights stay as they are:

  lora       outlines only: low-rank changes of the U-Net's convolutions and attention
  style      a second checkpoint, pastel colours: cross-attention, norms, biases and the last convolution trained on
  control    a ControlNet for contours: a copy of the U-Net's encoder, of which the finest level is trained
  inversion  four vectors that stand for a starry night

usage: python -m training.train_extras WHAT --state DIR --seconds 200 [--tiny]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compiler.networks.controlnet import ControlNet, ControlNetConfig
from compiler.networks.unet import UNetControl
from training.feed import CHUNK, Chunk, chunks, tokens_of
from training.model import Diffusion, Size, Vae, shipped, tiny
from training.palette import pastel, table
from training.render import Renderer, encode
from training.sampling import load_model
from training.scenes import Scene, Thing, place_scene
from training.state import Mean, load_parts, save_parts
from training.tokens import known, lookup, rows_of
from training.train_diffusion import Examples, Objective, Pool
from training.train_vae import load_vae, rate_at

RANK = 4
VECTORS = 4
STARRY = "starry night"
_INVERSION_TEXTS = ("{}", "a picture of {}", "a drawing of {}", "an image of {}", "there is {}", "draw {}")


class LowRank(nn.Module):
    """A weight plus up @ down, as a LoRA file has them. up starts at zero."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, weight[0].numel()) / rank)
        self.up = nn.Parameter(torch.zeros(len(weight), rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


class Extra:
    """What one of the four trains: its parameters, its rate, its examples' renderer, and its prediction."""

    rate = 1e-3

    def __init__(self, model: Diffusion, size: Size, device: torch.device) -> None:
        self.model, self.size, self.device = model.requires_grad_(False), size, device
        self.parameters: dict[str, nn.Parameter] = {}

    def renderer(self) -> Renderer:
        return Renderer(self.device, side=self.size.side)

    def source(self, workers: int) -> Iterator[Chunk]:
        return chunks(5, workers)

    def eps(self, x: Tensor, t: Tensor, tokens: Tensor, examples: Examples) -> Tensor:
        out: Tensor = self.model(x, t, tokens)
        return out

    def shipped(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the file, from the trained values."""
        return values

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The other way, to train on."""
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[name])


class Lora(Extra):
    def __init__(self, model: Diffusion, size: Size, device: torch.device) -> None:
        super().__init__(model, size, device)
        self.shapes: dict[str, torch.Size] = {}
        for name, module in list(model.unet.named_modules()):
            chosen = (isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)) or ".attn" in name
            if chosen and isinstance(module, (nn.Conv2d, nn.Linear)):
                self.shapes[name] = module.weight.shape
                low_rank = LowRank(module.weight, RANK).to(device)
                parametrize.register_parametrization(module, "weight", low_rank)
                self.parameters |= {f"{name}.{k}": p for k, p in low_rank.named_parameters()}

    def renderer(self) -> Renderer:
        return Renderer(self.device, outlines=True, side=self.size.side)

    def shipped(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors = {}
        for module, shape in self.shapes.items():
            name = "lora_unet_" + module.replace(".", "_")
            down, up = values[f"{module}.down"], values[f"{module}.up"]
            tensors[f"{name}.lora_down.weight"] = down.view(RANK, *shape[1:])
            tensors[f"{name}.lora_up.weight"] = up.view(*up.shape, *([1] * (len(shape) - 2)))
            tensors[f"{name}.alpha"] = torch.tensor(float(RANK))
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        flat = {}
        for module in self.shapes:
            name = "lora_unet_" + module.replace(".", "_")
            flat[f"{module}.down"] = tensors[f"{name}.lora_down.weight"].flatten(1)
            flat[f"{module}.up"] = tensors[f"{name}.lora_up.weight"].flatten(1)
        super().restore(flat)


class Style(Extra):
    rate = 5e-4

    def __init__(self, model: Diffusion, size: Size, device: torch.device) -> None:
        super().__init__(model, size, device)
        for name, parameter in model.unet.named_parameters():
            if ".attn2." in name or parameter.ndim == 1 or name.startswith("out."):
                parameter.requires_grad_(True)
                self.parameters[name] = parameter

    def renderer(self) -> Renderer:
        return Renderer(self.device, colours=pastel(table()), side=self.size.side)


class Control(Extra):
    def __init__(self, model: Diffusion, size: Size, device: torch.device) -> None:
        super().__init__(model, size, device)
        config = ControlNetConfig(encoder=size.unet, hint_widths=(16, 16, 32, 32, 64, 64, 96))
        self.control = ControlNet(config).to(device)
        self.unet = UNetControl(size.unet).to(device).requires_grad_(False)
        weights = model.unet.state_dict()
        self.unet.load_state_dict(weights)
        own = self.control.state_dict()
        self.control.load_state_dict({k: weights.get(k, v) for k, v in own.items()})
        trained = ("input_hint_block.", "zero_convs.", "middle_block_out.", "input_blocks.0.", "input_blocks.1.",
                   "input_blocks.2.")  # fmt: skip
        for name, parameter in self.control.named_parameters():
            if name.startswith(("zero_convs.", "middle_block_out.", "input_hint_block.14.")):
                nn.init.zeros_(parameter)
            if name.startswith(trained) or parameter.ndim == 1:
                self.parameters[name] = parameter
            else:
                parameter.requires_grad_(False)
        self.lines, self.empty = Renderer(device, side=size.side), Objective(device).empty

    def eps(self, x: Tensor, t: Tensor, tokens: Tensor, examples: Examples) -> Tensor:
        """A fifth of the texts is dropped beside the usual tenth, so that the contours alone must do."""
        dropped = (torch.rand(len(x), device=x.device) < 0.2)[:, None]
        context = self.model.context(torch.where(dropped, self.empty, tokens))
        out: Tensor = self.unet(x, t, context, *self.control(x, self.lines.edges(examples.things), t, context))
        return out

    def shipped(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**self.control.state_dict(), **values}


class Inversion(Extra):
    rate = 2e-2

    def __init__(self, model: Diffusion, size: Size, device: torch.device) -> None:
        super().__init__(model, size, device)
        start = model.text.get_parameter("text_model.embeddings.token_embedding.weight")
        words = torch.from_numpy(lookup()[rows_of(["yellow stars on black"])])[0, 1 : 1 + VECTORS]
        self.vectors = nn.Parameter(start.detach()[words.to(device)].clone())
        self.parameters = {"emb_params": self.vectors}

    def source(self, workers: int) -> Iterator[Chunk]:
        rng = np.random.default_rng(11)
        while True:
            scenes = [starry(rng) for _ in range(CHUNK)]
            chunk = Chunk(encode(scenes), tokens_of(rng, scenes))
            texts = [_INVERSION_TEXTS[int(rng.integers(len(_INVERSION_TEXTS)))] for _ in scenes]
            yield Chunk(chunk.batch, np.stack([_with_gap(text) for text in texts]))

    def eps(self, x: Tensor, t: Tensor, tokens: Tensor, examples: Examples) -> Tensor:
        gap = tokens == GAP
        place = (gap.cumsum(dim=1) - 1).clamp(0, VECTORS - 1)
        mask = gap[:, :, None].float()
        context = self.model.context(tokens.clamp_min(0), self.vectors[place] * mask, mask)
        out: Tensor = self.model.unet(x, t, context)
        return out


GAP = -1  # stands where a vector goes


def _with_gap(text: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The tokens of a text with VECTORS gaps in place of "{}"."""
    row = lookup()[rows_of([text.replace("{}", "").strip()])][0]
    at = int(np.argmax(row == row[-1]))
    return np.concatenate([row[:at], np.full(VECTORS, GAP), row[at:-VECTORS]])


def starry(rng: np.random.Generator) -> Scene:
    """Three to five small yellow stars on black."""
    while True:
        count = int(rng.integers(3, 6))
        scene = place_scene(rng, Scene("many", (Thing("star", "yellow", "small"),) * count, "black", counts=(count,)))
        if scene is not None:
            return scene


EXTRAS: dict[str, type[Extra]] = {"lora": Lora, "style": Style, "control": Control, "inversion": Inversion}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train what goes with the demo model.")
    parser.add_argument("what", choices=tuple(EXTRAS))
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="go on from what the state folder holds")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args(argv)
    torch.manual_seed(3)
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = (tiny if args.tiny else shipped)(len(known()) + 1)
    vae = Vae(size.vae).to(device)
    load_vae(args.state, vae)
    extra = EXTRAS[args.what](load_model(args.state, size, device), size, device)
    if args.resume:
        extra.restore(load_parts(args.state, args.what)[0])
    optimizer = torch.optim.AdamW(extra.parameters.values(), extra.rate, betas=(0.9, 0.99), weight_decay=0.0)
    mean, objective = Mean(extra.parameters, 0.995), Objective(device)
    pool = Pool(vae, extra.renderer(), extra.source(args.workers), passes=4, chunk_count=1)
    step, began = 0, time.monotonic()
    for examples in pool.batches(args.batch):
        share = (time.monotonic() - began) / args.seconds
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate_at(share, extra.rate)
        x, t, tokens, noise, weights = objective.draw(examples)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = objective.loss(extra.eps(x, t, tokens, examples), noise, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(extra.parameters.values(), 1.0)
        optimizer.step()
        mean.update(extra.parameters, step)
        step += 1
        if step % 100 == 0:
            spent = time.monotonic() - began
            print(f"{args.what} step {step} loss {float(loss.detach()):.4f} {spent:.0f} s", flush=True)
    tensors = extra.shipped(mean.values)
    save_parts(args.state, args.what, {k: v.half() for k, v in tensors.items()}, {"step": step})
    print(f"{args.what}: saved after {step} steps", flush=True)


if __name__ == "__main__":
    main()
