"""The samplers: noise, sigmas and the denoising loop."""

from __future__ import annotations

from collections.abc import Mapping

from graphs.definition import Builder
from graphs.node import Node
from graphs.nodes.guiding import guider
from graphs.operands import Literal, OperandTree
from graphs.rows import compiled
from graphs.values import Conditioning, ModelValue


def _emit_sampling(b: Builder, seed: str, sigmas: Mapping[str, OperandTree], noise: Mapping[str, OperandTree]) -> None:
    """What both samplers share. sigmas and noise: the inputs that only one of them has."""
    model = b.take("model", ModelValue)
    sides = {name: b.take(name, Conditioning) for name in ("positive", "negative")}
    latent, name = b.operand("latent_image"), b.operand("sampler_name")
    schedule = {"steps": b.operand("steps"), "scheduler": b.operand("scheduler"), "sampler_name": name, **sigmas}
    use = b.model_use(model)
    (table,) = b.emit("make_sigmas", schedule, model=use)
    (drawn,) = b.emit("make_noise", {"latent": latent, "seed": b.operand(seed), **noise}, model=use)
    guided = guider(b, model, "cfg", sides, {"cfg": b.operand("cfg")}, latent=latent)
    (sampler,) = b.emit("sampler", {"name": name})
    parts = {"latent": latent, "noise": drawn, "sigmas": table, "sampler": sampler, "guider": guided}
    (sampled,) = b.emit("sample", parts)
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
