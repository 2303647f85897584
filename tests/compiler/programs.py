"""Programs for tests, as the lowering makes them, written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.operands import Literal, OperandTree, Param, Ref
from graphs.program import NetworkUse, Parameter, Program, Step
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
) -> Step:
    owner = node or (outputs[0].split(".")[0] if outputs else "0")
    return Step(step_id or f"{owner}.{op}", op, inputs, attrs or {}, outputs, networks or {}, (owner,))


def program(steps: list[Step], networks: list[NetworkUse] | None = None, **parameters: Json) -> Program:
    """parameters: defaults, by name with the dot written as two underscores after an n: n6__text is "6.text"."""
    named = {name.removeprefix("n").replace("__", "."): value for name, value in parameters.items()}
    declared = {name: Parameter(name, "STRING", value) for name, value in named.items()}
    return Program(tuple(steps), declared, {n.id: n for n in networks or []})


def sampling(node: str, positive: str, negative: str, latent: str, unet: str = "unet") -> list[Step]:
    """The steps of a KSampler."""
    return [
        step(
            "make_sigmas",
            {
                "steps": Param(f"{node}.steps"),
                "scheduler": Literal("normal"),
                "denoise": Literal(1.0),
                "sampler_name": Literal("euler"),
            },
            f"{node}.sigmas",
        ),
        step("make_noise", {"latent": Ref(latent), "seed": Param(f"{node}.seed")}, f"{node}.noise"),
        step(
            "sample",
            {
                "latent": Ref(latent),
                "noise": Ref(f"{node}.noise"),
                "sigmas": Ref(f"{node}.sigmas"),
                "seed": Param(f"{node}.seed"),
                "cfg": Literal(7.0),
                "sampler_name": Literal("euler"),
                "positive": (Ref(positive),),
                "negative": (Ref(negative),),
            },
            f"{node}.latent",
            networks={"unet": unet},
        ),
    ]


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
