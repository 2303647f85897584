"""The samplers: noise, sigmas and the denoising loop."""

from __future__ import annotations

from collections.abc import Mapping

from graphs.definition import Builder, NodeDef
from graphs.node import COMBO, Input, Json, Node, Output
from graphs.nodes.controlnet import ControlParts, control_parts
from graphs.operands import Literal, Operand, OperandTree
from graphs.values import Conditioning

SAMPLERS = (
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral",
    "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu",
    "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu",
    "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "ipndm", "ipndm_v", "deis", "res_multistep",
    "res_multistep_cfg_pp", "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp", "gradient_estimation",
    "gradient_estimation_cfg_pp", "er_sde", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc",
    "uni_pc_bh2",
)  # fmt: skip
SCHEDULERS = (
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
)  # fmt: skip
MAX_SEED = 2**64 - 1


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
    model = b.model()
    positive, negative = b.conditioning("positive"), b.conditioning("negative")
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


KSAMPLER = NodeDef(
    class_type="KSampler",
    display_name="KSampler",
    category="sampling",
    inputs=(
        Input("model", "MODEL"),
        Input("seed", "INT", default=0, min=0, max=MAX_SEED, control_after_generate=True),
        Input("steps", "INT", default=20, min=1, max=10000),
        Input("cfg", "FLOAT", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01),
        Input("sampler_name", COMBO, options=SAMPLERS),
        Input("scheduler", COMBO, options=SCHEDULERS),
        Input("positive", "CONDITIONING"),
        Input("negative", "CONDITIONING"),
        Input("latent_image", "LATENT"),
        Input("denoise", "FLOAT", default=1.0, min=0.0, max=1.0, step=0.01),
    ),
    outputs=(Output("LATENT", "LATENT"),),
    lower=_lower_ksampler,
)


def _lower_ksampler_advanced(node: Node, b: Builder) -> None:
    sigmas: dict[str, OperandTree] = {
        "denoise": Literal(1.0),
        "start_at_step": b.operand("start_at_step"),
        "end_at_step": b.operand("end_at_step"),
        "return_with_leftover_noise": b.operand("return_with_leftover_noise"),
    }
    _emit_sampling(b, "noise_seed", sigmas, {"add_noise": b.operand("add_noise")})


KSAMPLER_ADVANCED = NodeDef(
    class_type="KSamplerAdvanced",
    display_name="KSampler (Advanced)",
    category="sampling",
    inputs=(
        Input("model", "MODEL"),
        Input("add_noise", COMBO, options=("enable", "disable")),
        Input("noise_seed", "INT", default=0, min=0, max=MAX_SEED, control_after_generate=True),
        Input("steps", "INT", default=20, min=1, max=10000),
        Input("cfg", "FLOAT", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01),
        Input("sampler_name", COMBO, options=SAMPLERS),
        Input("scheduler", COMBO, options=SCHEDULERS),
        Input("positive", "CONDITIONING"),
        Input("negative", "CONDITIONING"),
        Input("latent_image", "LATENT"),
        Input("start_at_step", "INT", default=0, min=0, max=10000),
        Input("end_at_step", "INT", default=10000, min=0, max=10000),
        Input("return_with_leftover_noise", COMBO, options=("disable", "enable")),
    ),
    outputs=(Output("LATENT", "LATENT"),),
    lower=_lower_ksampler_advanced,
)
