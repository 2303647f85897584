"""A backend whose engines are functions by kind, and a plan of the default workflow over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from compiler.linking.conditioning import with_conditions
from compiler.lowering.lower import lower
from graphs.plan import EngineRef, NetworkBinding, Plan, Profile, WeightLayer, WeightRef
from graphs.plan_json import save_plan
from graphs.program import Program, Step
from graphs.workflow import parse_api
from runtime.backends.backend import Availability, Backend, EngineSpec, LoadSpec, Module, NetworkModel, Progress
from runtime.network_weights import NetworkWeights
from runtime.store import Store
from tests.runtime.op_context import FunctionModule
from tests.runtime.sampling_fixtures import SD15

Tensors = Mapping[str, torch.Tensor]

ATTRS: dict[str, Any] = {
    "encode_text": {"text": {"encoders": [{"name": "clip_l", "width": 8, "padding": 49407}], "pooled": "clip_l"}},
    "decode_latent": {"latent": SD15["latent"]},
    "encode_image": {"latent": SD15["latent"]},
}


def default_prompt() -> dict[str, Any]:
    """The workflow that ComfyUI opens with, at 64 x 64."""

    def node(class_type: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    return {
        "3": node(
            "KSampler", seed=156680208700286, steps=3, cfg=8.0, sampler_name="euler", scheduler="normal", denoise=1.0,
            model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="sd15.safetensors"),
        "5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "6": node("CLIPTextEncode", text="a fox", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="text, watermark", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
    }  # fmt: skip


class FakeBackend(Backend):
    """Counts what it loads and closes."""

    name, form, profiled, weights_inside, reentrant = "fake", "onnx", False, False, True

    def __init__(self, can_run: bool = True, version: str = "1") -> None:
        self.can_run, self.version = can_run, version
        self.loaded: list[str] = []
        self.closed: list[str] = []
        self.threads: set[int] = set()

    def available(self) -> Availability:
        return Availability(True, self.can_run, self.version, "no fake device", "buy one")

    def fingerprint(self, spec: EngineSpec) -> str:
        return f"fake {self.version} {spec.precision}"

    def check(self, spec: EngineSpec) -> None:
        return None

    def build(self, model: NetworkModel, spec: EngineSpec, progress: Progress | None = None) -> bytes:
        raise AssertionError("nothing is built at run time")

    def load(self, engine: Path, weights: NetworkWeights, spec: LoadSpec) -> Module:
        kind = engine.read_text()
        assert weights.files()[0].read_text() == f"weights of {kind}"
        self.loaded.append(kind)
        self.threads.add(spec.threads)
        return _Closing(kind, self)


class _Closing(FunctionModule):
    def __init__(self, kind: str, backend: FakeBackend) -> None:
        super().__init__(FUNCTIONS[kind])
        self._kind, self._backend = kind, backend

    def close(self) -> None:
        self._backend.closed.append(self._kind)


def _unet(inputs: Tensors) -> dict[str, torch.Tensor]:
    """Something that depends on every input, so that a wrong one shows."""
    text = inputs["context"].mean(dim=(1, 2)).reshape(-1, 1, 1, 1)
    return {"eps": 0.5 * inputs["x"] + 0.1 * text + inputs["timesteps"].reshape(-1, 1, 1, 1) / 10000}


def _clip(inputs: Tensors) -> dict[str, torch.Tensor]:
    tokens = inputs["tokens"].float() / 49408
    return {"hidden": tokens.unsqueeze(-1).repeat(1, 1, 8), "pooled": tokens[:, :1].repeat(1, 8)}


def _decoder(inputs: Tensors) -> dict[str, torch.Tensor]:
    pixels = inputs["latent"][:, :3].repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    return {"image": torch.sigmoid(pixels).movedim(1, -1).contiguous()}


CAST = {"text": "clip_l", "denoiser": "unet", "decoder": "vae_decoder", "encoder": "vae_encoder"}
FUNCTIONS = {"unet": _unet, "clip_l": _clip, "vae_decoder": _decoder}


def completed(program: Program) -> Program:
    """With the attrs and facts that the compiler reads from a checkpoint."""

    cast = {
        name: replace(use, id=name.replace(use.kind, CAST[use.kind]), kind=CAST[use.kind])
        for name, use in program.networks.items()
    }
    ids = {name: use.id for name, use in cast.items()}

    def step(s: Step) -> Step:
        networks = {"clip_l" if role == "text.0" else role: ids[name] for role, name in s.networks.items()}
        return replace(s, attrs={**ATTRS.get(s.op, {}), **s.attrs}, networks=networks)

    models = {name: replace(use, facts=SD15) for name, use in program.models.items()}
    networks = {use.id: use for use in cast.values()}
    steps = with_conditions((step(s) for s in program.steps), models)
    return replace(program, steps=steps, models=models, networks=networks)


def folded(program: Program) -> tuple[Program, bytes]:
    """The program with its text encodings as constants, all of them 0.25, and the constants."""
    tensors: dict[str, torch.Tensor] = {}
    steps = []
    for s in program.steps:
        if s.op == "encode_text":
            for output in s.outputs:
                tensors[output] = torch.full((1, 77, 8), 0.25)
            s = replace(s, folded={name: name for name in s.outputs}, folded_when=s.params())
        steps.append(s)
    return program.with_steps(tuple(steps)), save(tensors)


def write_plan(
    directory: Path, store: Store, *, prompt: Mapping[str, Any] | None = None, fold: bool = True,
    workflow: Mapping[str, Any] | None = None, profile: Profile | None = None,
) -> Plan:  # fmt: skip
    """A plan folder of a prompt, its fake engines and weights in the store."""
    prompt = prompt if prompt is not None else default_prompt()
    program, constants = completed(lower(parse_api(prompt))), None
    if fold:
        program, constants = folded(program)
    bindings = {}
    for name, use in program.networks.items():
        engine = store.put(f"engine-{use.kind}".replace("_", "-"), use.kind.encode())
        weights = store.put(f"weights-{use.kind}".replace("_", "-"), b"weights of " + use.kind.encode())
        bindings[name] = NetworkBinding(
            EngineRef(engine.key, engine.sha256, engine.size_bytes, "fake", "fake 1 fp32", "fp32"),
            WeightRef((WeightLayer(weights.key, weights.sha256, weights.size_bytes),)),
        )
    plan = Plan(
        program, bindings, profile or Profile(), "fake", "cpu", "comfyui-0.8", prompt, workflow, comfyc_version="0.1.0"
    )
    save_plan(plan, constants, directory)
    return plan
