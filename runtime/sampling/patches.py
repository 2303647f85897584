"""Functions that patch nodes put into a guider's chain, by name.

Three places take one: `mask` changes the noise mask at each step, `mix` stands in for classifier-free guidance, `after`
changes the guided prediction. Of the first two the last patch in the chain counts; all of the third act, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from graphs.errors import RunError
from runtime.sampling.inpaint import Differential

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.conditions import Patch
    from runtime.sampling.model_sampling import ModelSampling


@dataclass(frozen=True, eq=False)
class Guided:
    """One guided evaluation, as patches see it. denoised: what the guidance gave for x at sigma."""

    x: Tensor
    sigma: Tensor
    cond: Tensor
    uncond: Tensor
    scale: float
    denoised: Tensor


MaskPatch = Callable[["ModelSampling", "Tensor", float], Differential]  # (model, sigmas, strength)
MixPatch = Callable[..., "Tensor"]  # (x, sigma, cond, uncond, scale, *operands) -> guided
AfterPatch = Callable[[Guided], "Tensor"]


@dataclass(frozen=True)
class PatchDef:
    """operands: how many it takes. One of mask, mix and after is its function."""

    operands: int = 0
    mask: MaskPatch | None = None
    mix: MixPatch | None = None
    after: AfterPatch | None = None


def rescale_cfg(x: Tensor, sigma: Tensor, cond: Tensor, uncond: Tensor, scale: float, multiplier: float) -> Tensor:
    """Guidance on v, brought back to the deviation of the conditional prediction.

    Source: Lin et al. 2023, arXiv 2305.08891, section 3.4, eq. 15 and 16; multiplier is its phi."""
    root = (sigma**2 + 1.0) ** 0.5
    unit = x / (sigma**2 + 1.0)
    v_cond, v_uncond = ((unit - denoised) * root / sigma for denoised in (cond, uncond))
    guided = v_uncond + scale * (v_cond - v_uncond)
    dims = (1, 2, 3)
    rescaled = guided * (v_cond.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True))
    v = multiplier * rescaled + (1.0 - multiplier) * guided
    return unit - v * sigma / root


def cfg_zero_star(guided: Guided) -> Tensor:
    """The unconditional prediction scaled to the conditional one before guidance.

    Source: Fan et al. 2025, arXiv 2503.18886, eq. 10: the scale is their projection, over each sample."""
    towards, away = guided.x - guided.cond, guided.x - guided.uncond
    flat, other = towards.flatten(1), away.flatten(1)
    share = (flat * other).sum(dim=1, keepdim=True) / ((other**2).sum(dim=1, keepdim=True) + 1e-8)
    share = share.reshape(-1, *(1 for _ in guided.x.shape[1:]))
    return guided.denoised + guided.uncond * (share - 1.0) + guided.scale * guided.uncond * (1.0 - share)


PATCHES: Mapping[str, PatchDef] = MappingProxyType(
    {
        "differential_diffusion": PatchDef(1, mask=Differential.over),
        "rescale_cfg": PatchDef(1, mix=rescale_cfg),
        "cfg_zero_star": PatchDef(after=cfg_zero_star),
    }
)


@dataclass(frozen=True, eq=False)
class Chain:
    """The patches of a guider at one evaluation: x and sigma."""

    patches: Sequence[tuple[PatchDef, tuple[float, ...]]]
    x: Tensor
    sigma: Tensor

    def guide(self, cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
        """Classifier-free guidance, or what a patch puts in its place, and what patches make of that."""
        mixes = [(patch.mix, operands) for patch, operands in self.patches if patch.mix is not None]
        if mixes:
            mix, operands = mixes[-1]
            denoised = mix(self.x, self.sigma, cond, uncond, scale, *operands)
        else:
            denoised = uncond + (cond - uncond) * scale
        return self.finish(cond, uncond, scale, denoised)

    def finish(self, cond: Tensor, uncond: Tensor, scale: float, denoised: Tensor) -> Tensor:
        """What patches make of a guided prediction."""
        for patch, _ in self.patches:
            if patch.after is not None:
                denoised = patch.after(Guided(self.x, self.sigma, cond, uncond, scale, denoised))
        return denoised


def known(patches: Sequence[Patch]) -> tuple[tuple[PatchDef, tuple[float, ...]], ...]:
    """Each with its operands. Raises RunError for a patch that is unknown, or takes another number of operands."""
    found = []
    for patch in patches:
        if patch.name not in PATCHES:
            raise RunError("unknown patch", expected=", ".join(PATCHES), got=repr(patch.name), hint="recompile")
        definition = PATCHES[patch.name]
        if len(patch.operands) != definition.operands:
            expected, got = f"{definition.operands} operands", str(len(patch.operands))
            raise RunError(f"patch {patch.name} takes others", expected=expected, got=got, hint="recompile")
        found.append((definition, patch.operands))
    return tuple(found)


def differential(
    patches: Sequence[tuple[PatchDef, tuple[float, ...]]], model: ModelSampling, sigmas: Tensor
) -> Differential | None:
    """What the last patch of the noise mask does over a schedule, if there is one."""
    masks = [(patch.mask, operands) for patch, operands in patches if patch.mask is not None]
    return masks[-1][0](model, sigmas, *masks[-1][1]) if masks else None
