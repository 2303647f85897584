"""SAMPLER: a sampler by name, with settings of its own."""

from __future__ import annotations

from collections.abc import Mapping

from graphs.definition import Builder, Lower
from graphs.node import Node
from graphs.operands import Literal, Operand, OperandTree
from graphs.rows import compiled, op

ER_SDE, REVERSE_SDE = "ER-SDE", "Reverse-time SDE"


def _emit(b: Builder, name: str, numbers: Mapping[str, Operand]) -> None:
    inputs: dict[str, OperandTree] = {"name": Literal(name)}
    inputs |= {f"numbers.{number}": operand for number, operand in numbers.items()}
    (made,) = b.emit("sampler", inputs)
    b.output(0, made)


def _named(name: str, *numbers: str) -> Lower:
    """numbers: inputs of the node that are settings of the sampler under the same name. Where the noise is drawn
    (noise_device) is left out: ours comes from the host."""

    def lower(node: Node, b: Builder) -> None:
        _emit(b, name, {number: b.operand(number) for number in numbers})

    return lower


def _lower_2m_sde(node: Node, b: Builder) -> None:
    name = "dpmpp_2m_sde_heun" if b.constant("solver_type") == "heun" else "dpmpp_2m_sde"
    _named(name, "eta", "s_noise")(node, b)


def _lower_er_sde(node: Node, b: Builder) -> None:
    """eta counts for the reverse-time SDE alone, whose noise scale is sigma^(1 + eta); at eta 0 that is the ODE."""
    solver, numbers = b.constant("solver_type"), {"max_stage": b.operand("max_stage"), "s_noise": b.operand("s_noise")}
    if solver != ER_SDE:
        eta = float(b.constant("eta")) if solver == REVERSE_SDE else 0.0
        numbers["power"] = Literal(1.0 + eta)
        if eta == 0.0:
            numbers["s_noise"] = Literal(0.0)
    _emit(b, "er_sde", numbers)


def _lower_euler_cfg_pp(node: Node, b: Builder) -> None:
    if b.constant("version") != "regular":
        raise b.unsupported("version", "this version of the sampler is not compiled yet", hint="use 'regular'")
    _emit(b, "euler_cfg_pp", {})


FRESH = ("eta", "s_noise")
ADAPTIVE = ("order", "rtol", "atol", "h_init", "pcoeff", "icoeff", "dcoeff", "accept_safety", *FRESH)

ROWS = (
    op("KSamplerSelect", "sampler", sampler_name="name"),
    compiled("SamplerDPMAdaptative", _named("dpm_adaptive", *ADAPTIVE)),
    compiled("SamplerDPMPP_2M_SDE", _lower_2m_sde),
    compiled("SamplerDPMPP_2S_Ancestral", _named("dpmpp_2s_ancestral", *FRESH)),
    compiled("SamplerDPMPP_3M_SDE", _named("dpmpp_3m_sde", *FRESH)),
    compiled("SamplerDPMPP_SDE", _named("dpmpp_sde", *FRESH, "r")),
    compiled("SamplerER_SDE", _lower_er_sde),
    compiled("SamplerEulerAncestral", _named("euler_ancestral", *FRESH)),
    compiled("SamplerEulerAncestralCFGPP", _named("euler_ancestral_cfg_pp", *FRESH)),
    compiled("SamplerEulerCFGpp", _lower_euler_cfg_pp),
    compiled("SamplerLMS", _named("lms", "order")),
)
