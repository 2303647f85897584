"""The table of samplers: ComfyUI's names, one generator function each (see runtime.sampling.sampler)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graphs.errors import RunError
from runtime.sampling.sampler import BROWNIAN, INDEPENDENT, SamplerDef
from runtime.sampling.samplers.cfg_pp import (
    dpmpp_2m_cfg_pp,
    dpmpp_2s_ancestral_cfg_pp,
    euler_ancestral_cfg_pp,
    euler_cfg_pp,
)
from runtime.sampling.samplers.ddpm import ddpm, lcm
from runtime.sampling.samplers.dpm_2 import dpm_2, dpm_2_ancestral
from runtime.sampling.samplers.dpm_adaptive import dpm_adaptive
from runtime.sampling.samplers.dpm_solver import dpm_fast
from runtime.sampling.samplers.dpmpp import dpmpp_2m, dpmpp_2s_ancestral
from runtime.sampling.samplers.dpmpp_sde import dpmpp_2m_sde, dpmpp_2m_sde_heun, dpmpp_3m_sde, dpmpp_sde
from runtime.sampling.samplers.er_sde import er_sde
from runtime.sampling.samplers.euler import euler, euler_ancestral
from runtime.sampling.samplers.exp_heun import exp_heun_2_x0, exp_heun_2_x0_sde
from runtime.sampling.samplers.gradient_estimation import gradient_estimation, gradient_estimation_cfg_pp
from runtime.sampling.samplers.heun import heun, heunpp2
from runtime.sampling.samplers.ipndm import deis, ipndm, ipndm_v
from runtime.sampling.samplers.lms import lms
from runtime.sampling.samplers.res_multistep import (
    res_multistep,
    res_multistep_ancestral,
    res_multistep_ancestral_cfg_pp,
    res_multistep_cfg_pp,
)
from runtime.sampling.samplers.sa_solver import sa_solver, sa_solver_pece
from runtime.sampling.samplers.seeds import seeds_2, seeds_3
from runtime.sampling.samplers.uni_pc import uni_pc, uni_pc_bh2

FRESH = ("eta", "s_noise")  # how much of the noise is drawn anew, and a factor on what is drawn
ADAPTIVE = ("order", "rtol", "atol", "h_init", "pcoeff", "icoeff", "dcoeff", "accept_safety", *FRESH)

# The _gpu names differ in ComfyUI only in where the Brownian path lives; ours lives on the host for all.
SAMPLERS: Mapping[str, SamplerDef] = MappingProxyType(
    {
        "euler": SamplerDef(euler),
        "euler_cfg_pp": SamplerDef(euler_cfg_pp, needs_uncond=True, on_levels=True),
        "euler_ancestral": SamplerDef(euler_ancestral, INDEPENDENT, takes_path=True, numbers=FRESH),
        "euler_ancestral_cfg_pp": SamplerDef(
            euler_ancestral_cfg_pp, INDEPENDENT, needs_uncond=True, on_levels=True, numbers=FRESH
        ),
        "heun": SamplerDef(heun),
        "heunpp2": SamplerDef(heunpp2),
        "dpm_2": SamplerDef(dpm_2),
        "dpm_2_ancestral": SamplerDef(dpm_2_ancestral, INDEPENDENT, takes_path=True),
        "lms": SamplerDef(lms, numbers=("order",)),
        "dpm_fast": SamplerDef(dpm_fast),
        "dpm_adaptive": SamplerDef(dpm_adaptive, numbers=ADAPTIVE, noise_at_eta=INDEPENDENT),
        "dpmpp_2s_ancestral": SamplerDef(dpmpp_2s_ancestral, INDEPENDENT, takes_path=True, numbers=FRESH),
        "dpmpp_2s_ancestral_cfg_pp": SamplerDef(
            dpmpp_2s_ancestral_cfg_pp, INDEPENDENT, needs_uncond=True, on_levels=True
        ),
        "dpmpp_2m": SamplerDef(dpmpp_2m),
        "dpmpp_2m_cfg_pp": SamplerDef(dpmpp_2m_cfg_pp, needs_uncond=True, on_levels=True),
        "dpmpp_sde": SamplerDef(dpmpp_sde, BROWNIAN, takes_path=True, numbers=(*FRESH, "r")),
        "dpmpp_sde_gpu": SamplerDef(dpmpp_sde, BROWNIAN, takes_path=True, numbers=(*FRESH, "r")),
        "dpmpp_2m_sde": SamplerDef(dpmpp_2m_sde, BROWNIAN, takes_path=True, numbers=FRESH),
        "dpmpp_2m_sde_gpu": SamplerDef(dpmpp_2m_sde, BROWNIAN, takes_path=True, numbers=FRESH),
        "dpmpp_2m_sde_heun": SamplerDef(dpmpp_2m_sde_heun, BROWNIAN, takes_path=True, numbers=FRESH),
        "dpmpp_2m_sde_heun_gpu": SamplerDef(dpmpp_2m_sde_heun, BROWNIAN, takes_path=True, numbers=FRESH),
        "dpmpp_3m_sde": SamplerDef(dpmpp_3m_sde, BROWNIAN, takes_path=True, numbers=FRESH),
        "dpmpp_3m_sde_gpu": SamplerDef(dpmpp_3m_sde, BROWNIAN, takes_path=True, numbers=FRESH),
        "ipndm": SamplerDef(ipndm),
        "ipndm_v": SamplerDef(ipndm_v),
        "deis": SamplerDef(deis),
        "res_multistep": SamplerDef(res_multistep),
        "res_multistep_cfg_pp": SamplerDef(res_multistep_cfg_pp, needs_uncond=True, on_levels=True),
        "res_multistep_ancestral": SamplerDef(res_multistep_ancestral, INDEPENDENT, on_levels=True),
        "res_multistep_ancestral_cfg_pp": SamplerDef(
            res_multistep_ancestral_cfg_pp, INDEPENDENT, needs_uncond=True, on_levels=True
        ),
        "gradient_estimation": SamplerDef(gradient_estimation),
        "gradient_estimation_cfg_pp": SamplerDef(gradient_estimation_cfg_pp, needs_uncond=True, on_levels=True),
        "er_sde": SamplerDef(er_sde, INDEPENDENT, takes_path=True, numbers=("max_stage", "s_noise", "power")),
        "seeds_2": SamplerDef(seeds_2, INDEPENDENT, takes_path=True),
        "seeds_3": SamplerDef(seeds_3, INDEPENDENT, takes_path=True),
        "exp_heun_2_x0": SamplerDef(exp_heun_2_x0, takes_path=True),
        "exp_heun_2_x0_sde": SamplerDef(exp_heun_2_x0_sde, INDEPENDENT, takes_path=True),
        "sa_solver": SamplerDef(sa_solver, INDEPENDENT, span=(0.2, 0.8), takes_path=True),
        "sa_solver_pece": SamplerDef(sa_solver_pece, INDEPENDENT, span=(0.2, 0.8), takes_path=True),
        "ddim": SamplerDef(euler, redraws_outside_mask=True),
        "ddpm": SamplerDef(ddpm, INDEPENDENT, on_levels=True),
        "lcm": SamplerDef(lcm, INDEPENDENT, takes_path=True),
        "uni_pc": SamplerDef(uni_pc),
        "uni_pc_bh2": SamplerDef(uni_pc_bh2),
    }
)


def sampler(name: str) -> SamplerDef:
    """Raises RunError for a name that is not in the table."""
    if name not in SAMPLERS:
        raise RunError("unknown sampler", expected=", ".join(SAMPLERS), got=repr(name))
    return SAMPLERS[name]
