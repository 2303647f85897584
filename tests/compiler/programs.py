"""Programs for tests, as the lowering makes them, written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.operands import Literal, OperandTree, Param, Ref
from graphs.program import ModelUse, NetworkUse, Parameter, Program, Step
from graphs.values import Lora, ModelFile, Weights

Json = Any

SD15 = ModelFile("checkpoints", "sd15.safetensors")


def lora(of: Weights, name: str, strength: float) -> Weights:
    return Lora(of, ModelFile("loras", name), strength)


def network(network_id: str, kind: str, weights: Weights = SD15, **options: Json) -> NetworkUse:
    return NetworkUse(network_id, kind, weights, options)


def step(
    op: str,
    inputs: Mapping[str, OperandTree],
    *outputs: str,
    networks: Mapping[str, str] | None = None,
    attrs: Mapping[str, Json] | None = None,
    node: str | None = None,
    step_id: str | None = None,
    model: str | None = None,
) -> Step:
    owner = node or (outputs[0].split(".")[0] if outputs else "0")
    return Step(step_id or f"{owner}.{op}", op, inputs, attrs or {}, outputs, networks or {}, (owner,), model=model)


def program(steps: list[Step], networks: list[NetworkUse] | None = None, **parameters: Json) -> Program:
    """parameters: defaults, by name with the dot written as two underscores after an n: n6__text is "6.text"."""
    named = {name.removeprefix("n").replace("__", "."): value for name, value in parameters.items()}
    declared = {name: Parameter(name, "STRING", value) for name, value in named.items()}
    models = {step.model: ModelUse(step.model, SD15) for step in steps if step.model is not None}
    return Program(tuple(steps), declared, {n.id: n for n in networks or []}, models)


def sampling(node: str, positive: str, negative: str, latent: str, unet: str = "unet") -> list[Step]:
    """The steps of a KSampler."""
    schedule: dict[str, OperandTree] = {
        "steps": Param(f"{node}.steps"),
        "scheduler": Literal("normal"),
        "denoise": Literal(1.0),
        "sampler_name": Literal("euler"),
    }
    entries = (Ref(f"{node}.entry"), Ref(f"{node}.entry.2"))
    sides: dict[str, OperandTree] = {"sides.positive": entries[:1], "sides.negative": entries[1:]}
    parts = {name: Ref(f"{node}.{name}") for name in ("noise", "sigmas", "sampler", "guider")}
    return [
        step("make_sigmas", schedule, f"{node}.sigmas", model="model"),
        step("make_noise", {"latent": Ref(latent), "seed": Param(f"{node}.seed")}, f"{node}.noise", model="model"),
        step("entry", {"embedding": Ref(positive)}, f"{node}.entry"),
        step("entry", {"embedding": Ref(negative)}, f"{node}.entry.2", step_id=f"{node}.entry.2"),
        step(
            "guide", {**sides, "numbers.cfg": Literal(7.0)}, f"{node}.guider", attrs={"kind": "cfg"},
            networks={"denoiser": unet}, model="model",
        ),
        step("sampler", {"name": Literal("euler")}, f"{node}.sampler"),
        step("sample", {"latent": Ref(latent), **parts}, f"{node}.latent", f"{node}.denoised"),
    ]  # fmt: skip


def text_to_image(*, preview: bool = False) -> Program:
    """The default workflow, lowered: 6 and 7 the texts, 5 the empty latent, 3 the sampler, 8 the decode, 9 the save."""
    steps = [
        step("encode_text", {"text": Param("6.text")}, "6.embedding", "6.pooled", networks={"clip_l": "clip"}),
        step("encode_text", {"text": Param("7.text")}, "7.embedding", "7.pooled", networks={"clip_l": "clip"}),
        step(
            "empty_latent",
            {"width": Param("5.width"), "height": Literal(512), "batch_size": Literal(1)},
            "5.latent",
        ),
        *sampling("3", "6.embedding", "7.embedding", "5.latent"),
        step("decode_latent", {"latent": Ref("3.latent")}, "8.image", networks={"vae_decoder": "vae_decoder"}),
        step("image_to_u8", {"image": Ref("8.image")}, "9.image_u8"),
        step("save_image", {"image_u8": Ref("9.image_u8"), "filename_prefix": Literal("x")}, "9.files"),
    ]
    if preview:
        steps.append(step("image_to_u8", {"image": Ref("8.image")}, "10.image_u8"))
        steps.append(step("preview_image", {"image_u8": Ref("10.image_u8")}, "10.files"))
    networks = [network("clip", "clip_l"), network("unet", "unet"), network("vae_decoder", "vae_decoder")]
    return program(steps, networks, n6__text="a fox", n7__text="", n5__width=512, n3__steps=20, n3__seed=1)
