"""The samplers: noise, sigmas and the denoising loop."""

from __future__ import annotations

from collections.abc import Mapping

from graphs.definition import Builder
from graphs.node import Json, Node
from graphs.nodes.controlnet import ControlParts, control_parts
from graphs.operands import Literal, Operand, OperandTree
from graphs.rows import compiled
from graphs.values import Conditioning, ModelValue


def _embeddings(conditioning: Conditioning) -> tuple[Operand, ...]:
    return tuple(entry.embedding for entry in conditioning.entries)


def _entry_options(control: ControlParts, **sides: Conditioning) -> dict[str, Json]:
    """Options of the entries (area, strength, percent, controls) by side, only where some entry has any."""
    found: dict[str, Json] = {}
    for side, conditioning in sides.items():
        options = [dict(entry.options) for entry in conditioning.entries]
        for option, controls in zip(options, control.placed.get(side, ()), strict=False):
            option.update({"controls": controls} if controls else {})
        if any(options):
            found[side] = options
    return found


def _emit_sampling(b: Builder, seed: str, sigmas: Mapping[str, OperandTree], noise: Mapping[str, OperandTree]) -> None:
    """What both samplers share. sigmas and noise: the inputs that only one of them has."""
    model = b.take("model", ModelValue)
    positive, negative = b.take("positive", Conditioning), b.take("negative", Conditioning)
    control = control_parts(b, positive=positive, negative=negative)
    network = b.network("unet_control" if control.networks else "unet", model.weights)
    use = b.model_use(model)
    latent, sampler_name = b.operand("latent_image"), b.operand("sampler_name")
    (table,) = b.emit(
        "make_sigmas",
        {"steps": b.operand("steps"), "scheduler": b.operand("scheduler"), "sampler_name": sampler_name, **sigmas},
        model=use,
    )
    (drawn,) = b.emit("make_noise", {"latent": latent, "seed": b.operand(seed), **noise})
    (sampled,) = b.emit(
        "sample",
        {
            "latent": latent,
            "noise": drawn,
            "sigmas": table,
            "seed": b.operand(seed),
            "cfg": b.operand("cfg"),
            "sampler_name": sampler_name,
            "positive": _embeddings(positive),
            "negative": _embeddings(negative),
            **({} if model.differential is None else {"differential": model.differential}),
            **control.inputs,
        },
        attrs={**_entry_options(control, positive=positive, negative=negative), **control.attrs},
        networks={"unet": network, **control.networks},
        model=use,
    )
    b.output(0, sampled)


def _lower_ksampler(node: Node, b: Builder) -> None:
    _emit_sampling(b, "seed", {"denoise": b.operand("denoise")}, {})


def _lower_ksampler_advanced(node: Node, b: Builder) -> None:
    sigmas: dict[str, OperandTree] = {
        "denoise": Literal(1.0),
        "start_at_step": b.operand("start_at_step"),
        "end_at_step": b.operand("end_at_step"),
        "return_with_leftover_noise": b.operand("return_with_leftover_noise"),
    }
    _emit_sampling(b, "noise_seed", sigmas, {"add_noise": b.operand("add_noise")})


ROWS = (
    compiled("KSampler", _lower_ksampler),
    compiled("KSamplerAdvanced", _lower_ksampler_advanced),
)
