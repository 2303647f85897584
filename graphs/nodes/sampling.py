"""The samplers: noise, sigmas and the denoising loop, in one node or in parts."""

from __future__ import annotations

from collections.abc import Mapping

from graphs.definition import Builder, Lower
from graphs.node import Node
from graphs.nodes.guiding import guider
from graphs.operands import Literal, Operand, OperandTree, Ref
from graphs.rows import compiled
from graphs.values import Conditioning, GuiderValue, ModelValue, NoiseValue


def _emit_sampling(b: Builder, seed: str, sigmas: Mapping[str, OperandTree], noise: Mapping[str, OperandTree]) -> None:
    """What both samplers share. sigmas and noise: the inputs that only one of them has."""
    model = b.take("model", ModelValue)
    sides = {name: b.take(name, Conditioning) for name in ("positive", "negative")}
    latent, name = b.operand("latent_image"), b.operand("sampler_name")
    schedule = {"steps": b.operand("steps"), "scheduler": b.operand("scheduler"), "sampler_name": name, **sigmas}
    use = b.model_use(model)
    (table,) = b.emit("make_sigmas", schedule, model=use)
    (drawn,) = b.emit("make_noise", {"latent": latent, "seed": b.operand(seed), **noise}, model=use)
    (sampler,) = b.emit("sampler", {"name": name})
    guidance = GuiderValue("cfg", model, sides, {"cfg": b.operand("cfg")})
    b.output(0, _sample(b, guidance, drawn, table, sampler, latent)[0])


def _sample(
    b: Builder, guidance: GuiderValue, noise: Operand, sigmas: Operand, sampler: Operand, latent: Operand
) -> tuple[Ref, Ref]:
    """The steps that every sampler node ends with: (latent, denoised)."""
    guided = guider(b, guidance.model, guidance.kind, guidance.sides, guidance.numbers, latent=latent)
    parts = {"latent": latent, "noise": noise, "sigmas": sigmas, "sampler": sampler, "guider": guided}
    sampled, denoised = b.emit("sample", parts)
    return sampled, denoised


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


def _lower_custom(node: Node, b: Builder) -> None:
    model = b.take("model", ModelValue)
    sides = {name: b.take(name, Conditioning) for name in ("positive", "negative")}
    latent = b.operand("latent_image")
    noise = {"latent": latent, "seed": b.operand("noise_seed"), "add_noise": b.operand("add_noise")}
    (drawn,) = b.emit("make_noise", noise, model=b.model_use(model))
    guidance = GuiderValue("cfg", model, sides, {"cfg": b.operand("cfg")})
    for slot, value in enumerate(_sample(b, guidance, drawn, b.operand("sigmas"), b.operand("sampler"), latent)):
        b.output(slot, value)


def _drawn(b: Builder, noise: NoiseValue, latent: Operand, model: ModelValue) -> Ref:
    inputs: dict[str, OperandTree] = {"latent": latent, "seed": noise.seed}
    if not noise.drawn:
        inputs["add_noise"] = Literal(False)
    (drawn,) = b.emit("make_noise", inputs, model=b.model_use(model))
    return drawn


def _lower_custom_advanced(node: Node, b: Builder) -> None:
    guidance, latent = b.take("guider", GuiderValue), b.operand("latent_image")
    drawn = _drawn(b, b.take("noise", NoiseValue), latent, guidance.model)
    for slot, value in enumerate(_sample(b, guidance, drawn, b.operand("sigmas"), b.operand("sampler"), latent)):
        b.output(slot, value)


def _lower_add_noise(node: Node, b: Builder) -> None:
    model, latent = b.take("model", ModelValue), b.operand("latent_image")
    drawn = _drawn(b, b.take("noise", NoiseValue), latent, model)
    inputs = {"latent": latent, "noise": drawn, "sigmas": b.operand("sigmas")}
    (noisy,) = b.emit("add_noise", inputs, model=b.model_use(model))
    b.output(0, noisy)


def _lower_random_noise(node: Node, b: Builder) -> None:
    b.output(0, NoiseValue(b.operand("noise_seed")))


def _lower_no_noise(node: Node, b: Builder) -> None:
    b.output(0, NoiseValue(Literal(0), drawn=False))


def _lower_guider(kind: str, sides: Mapping[str, str], numbers: Mapping[str, str]) -> Lower:
    """sides, numbers: of the guider -> the node's input."""

    def lower(node: Node, b: Builder) -> None:
        conditionings = {side: b.take(name, Conditioning) for side, name in sides.items()}
        scales = {number: b.operand(name) for number, name in numbers.items()}
        b.output(0, GuiderValue(kind, b.take("model", ModelValue), conditionings, scales))

    return lower


PAIR = {"positive": "positive", "negative": "negative"}
DUAL_SIDES = {"positive": "cond1", "middle": "cond2", "negative": "negative"}
DUAL_SCALES = {"cfg": "cfg_conds", "cfg_negative": "cfg_cond2_negative"}


def _lower_dual(node: Node, b: Builder) -> None:
    kind = "dual_nested" if b.constant("style") == "nested" else "dual"
    _lower_guider(kind, DUAL_SIDES, DUAL_SCALES)(node, b)


ROWS = (
    compiled("AddNoise", _lower_add_noise),
    compiled("BasicGuider", _lower_guider("basic", {"positive": "conditioning"}, {})),
    compiled("CFGGuider", _lower_guider("cfg", PAIR, {"cfg": "cfg"})),
    compiled("DisableNoise", _lower_no_noise),
    compiled("DualCFGGuider", _lower_dual),
    compiled("KSampler", _lower_ksampler),
    compiled("KSamplerAdvanced", _lower_ksampler_advanced),
    compiled(
        "PerpNegGuider",
        _lower_guider("perp_neg", {**PAIR, "empty": "empty_conditioning"}, {"cfg": "cfg", "neg_scale": "neg_scale"}),
    ),
    compiled("RandomNoise", _lower_random_noise),
    compiled("SamplerCustom", _lower_custom),
    compiled("SamplerCustomAdvanced", _lower_custom_advanced),
)
