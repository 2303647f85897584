"""Walks the part of a golden workflow that leads to its latent, node by node, on torch modules in float32.

No compiler pass, no plan: what this gives shows whether the sampling ops make ComfyUI's latents.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from compiler.models.checkpoint import detect, open_checkpoint
from compiler.networks import NETWORKS
from runtime.context import OpContext
from runtime.ops.sample import make_noise, make_sigmas, sample
from runtime.ops.text import encode_text
from runtime.values import Latent
from tests.runtime.sampling_fixtures import SD15

KINDS = {"unet": "unet", "clip": "clip_text", "vae_encoder": "vae_encoder"}


class TorchModule:
    """A network of a checkpoint as an engine: float32, on the CPU."""

    def __init__(self, kind: str, checkpoint: Path) -> None:
        definition = NETWORKS[kind]
        opened = open_checkpoint(checkpoint)
        config = definition.configure(detect(opened), {})
        with torch.device("meta"):
            self._net: nn.Module = definition.module(config)
        state = {name: opened.tensor(definition.part, name).float() for name in self._net.state_dict()}
        self._net.load_state_dict(state, assign=True)
        self._net.eval()
        self._outputs = [spec.name for spec in definition.outputs(config)]

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = self._net(**inputs)
        return dict(zip(self._outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))

    def close(self) -> None:
        pass


@dataclass
class Engines:
    """The networks of one checkpoint, loaded on first use and kept."""

    checkpoint: Path
    loaded: dict[str, TorchModule] = field(default_factory=dict)

    def __call__(self, role: str) -> TorchModule:
        if role not in self.loaded:
            self.loaded[role] = TorchModule(KINDS[role], self.checkpoint)
        return self.loaded[role]


Cond = list[tuple[Tensor, dict[str, Any], Tensor | None]]  # (embedding, options, mask)


@dataclass
class Walk:
    nodes: Mapping[str, Any]
    engines: Engines
    inputs: Path
    compat: str
    guidance: str = "joint"
    done: dict[str, Any] = field(default_factory=dict)

    def latents(self) -> dict[str, Tensor]:
        """What reaches each SaveLatent, by its node."""
        savers = {key: node for key, node in self.nodes.items() if node["class_type"] == "SaveLatent"}
        return {key: self.value(node["inputs"]["samples"]).samples for key, node in savers.items()}

    def value(self, link: Any) -> Any:
        if not isinstance(link, list):
            return link
        node, slot = link
        if node not in self.done:
            class_type = self.nodes[node]["class_type"]
            inputs = {name: self.value(value) for name, value in self.nodes[node]["inputs"].items()}
            self.done[node] = getattr(self, f"_{class_type.lower()}")(**inputs)
        return self.done[node][slot]

    def _context(self, **attrs: Any) -> OpContext:
        here = Path()
        return OpContext(
            attrs={"clip": {"tokenizer": "sd1", "width": 768}, "guidance": self.guidance, **attrs},
            module=self.engines,
            device=torch.device("cpu"),
            compat=self.compat,
            node="sampler",
            progress=lambda done, total: None,
            input_dir=here,
            output_dir=here,
            temp_dir=here,
            model=SD15,
        )

    def _checkpointloadersimple(self, ckpt_name: str) -> tuple[str, str, str]:
        assert ckpt_name == self.engines.checkpoint.name
        return ("model", "clip", "vae")

    def _cliptextencode(self, clip: str, text: str) -> tuple[Cond]:
        return ([(encode_text(self._context(), text)[0], {}, None)],)

    def _conditioningcombine(self, conditioning_1: Cond, conditioning_2: Cond) -> tuple[Cond]:
        return (conditioning_1 + conditioning_2,)

    def _with(self, conditioning: Cond, mask: Tensor | None = None, **options: Any) -> tuple[Cond]:
        return ([(e, {**o, **options}, m if mask is None else mask) for e, o, m in conditioning],)

    def _conditioningsetarea(self, conditioning: Cond, width: int, height: int, x: int, y: int, strength: float) -> Any:
        return self._with(conditioning, area=[height // 8, width // 8, y // 8, x // 8], strength=strength)

    def _conditioningsetareapercentage(
        self, conditioning: Cond, width: float, height: float, x: float, y: float, strength: float
    ) -> Any:
        return self._with(conditioning, area=["percentage", height, width, y, x], strength=strength)

    def _conditioningsetmask(self, conditioning: Cond, mask: Tensor, strength: float, set_cond_area: str) -> Any:
        bounds = set_cond_area != "default"
        return self._with(conditioning, mask, mask_strength=strength, set_area_to_bounds=bounds)

    def _conditioningsettimesteprange(self, conditioning: Cond, start: float, end: float) -> Any:
        return self._with(conditioning, start_percent=start, end_percent=end)

    def _emptylatentimage(self, width: int, height: int, batch_size: int) -> tuple[Latent]:
        return (Latent(torch.zeros(batch_size, 4, height // 8, width // 8)),)

    def _loadimage(self, image: str) -> tuple[Tensor, Tensor]:
        picture = Image.open(self.inputs / image)
        pixels = torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.float32) / 255)[None]
        if "A" not in picture.getbands():
            return pixels, torch.zeros(1, 64, 64)
        alpha = torch.from_numpy(np.array(picture.getchannel("A"), dtype=np.float32) / 255)
        return pixels, 1.0 - alpha[None]

    def _loadimagemask(self, image: str, channel: str) -> tuple[Tensor]:
        picture = Image.open(self.inputs / image).convert("RGBA").getchannel(channel[0].upper())
        return (torch.from_numpy(np.array(picture, dtype=np.float32) / 255)[None],)

    def _vaeencode(self, pixels: Tensor, vae: str) -> tuple[Latent]:
        return (Latent(self.engines("vae_encoder")({"image": pixels})["latent"]),)

    def _setlatentnoisemask(self, samples: Latent, mask: Tensor) -> tuple[Latent]:
        return (replace(samples, noise_mask=mask.reshape(-1, 1, *mask.shape[-2:])),)

    def _ksampler(self, seed: int, steps: int, scheduler: str, denoise: float, **rest: Any) -> tuple[Latent]:
        sigmas = make_sigmas(self._context(), steps, scheduler, denoise, rest["sampler_name"])
        return self._sample(sigmas, seed, True, **rest)

    def _ksampleradvanced(
        self,
        noise_seed: int,
        steps: int,
        scheduler: str,
        add_noise: str,
        start_at_step: int,
        end_at_step: int,
        return_with_leftover_noise: str,
        **rest: Any,
    ) -> tuple[Latent]:
        name = rest["sampler_name"]
        steps_of = (start_at_step, end_at_step, return_with_leftover_noise)
        sigmas = make_sigmas(self._context(), steps, scheduler, 1.0, name, *steps_of)
        return self._sample(sigmas, noise_seed, add_noise, **rest)

    def _sample(
        self,
        sigmas: Tensor,
        seed: int,
        add_noise: str | bool,
        model: str,
        positive: Cond,
        negative: Cond,
        latent_image: Latent,
        cfg: float,
        sampler_name: str,
    ) -> tuple[Latent]:
        options, embeddings, masks = {}, {}, {}
        for side, entries in (("positive", positive), ("negative", negative)):
            masks[side] = tuple(mask for _, _, mask in entries if mask is not None)
            numbers = iter(range(len(masks[side])))
            options[side] = [{**o, **({} if m is None else {"mask": next(numbers)})} for _, o, m in entries]
            embeddings[side] = tuple(embedding for embedding, _, _ in entries)
        noise = make_noise(self._context(), latent_image, seed, add_noise)
        return (
            sample(
                self._context(**options),
                latent_image,
                noise,
                sigmas,
                seed,
                cfg,
                sampler_name,
                embeddings["positive"],
                embeddings["negative"],
                positive_masks=masks["positive"],
                negative_masks=masks["negative"],
            ),
        )


def walk(case: Path, engines: Engines, inputs: Path, compat: str, guidance: str = "joint") -> dict[str, Tensor]:
    """The latents that a golden case saves, computed here, by node."""
    return Walk(json.loads((case / "workflow.json").read_text()), engines, inputs, compat, guidance).latents()
