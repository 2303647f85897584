"""How the predictions of several sides become one: the kinds of guiders, each a row and a function of predictions.

Source: Ho & Salimans 2022, arXiv 2207.12598, eq. 6, on denoised predictions; Armandpour et al. 2023, arXiv 2304.04968,
for the perpendicular negative; Brooks et al. 2022, arXiv 2211.09800, eq. 3, for two scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from graphs.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.conditions import Guider
    from runtime.sampling.patches import Chain

Sides = Mapping[str, "Tensor"]  # by name, the denoised prediction of each side that was evaluated
Numbers = Mapping[str, float]

NO_GUIDANCE_TOLERANCE = 1e-9  # relative: a scale this close to 1 needs no other side


@dataclass(frozen=True)
class GuiderDef:
    """sides: the names that it takes, in the order in which they are evaluated. numbers: those that it needs.

    needed(numbers): the sides that count. uncond: the side that CFG++ samplers and patches take as the unconditional
    one; None where there is none. combine(sides, numbers, chain): chain.guide is classifier-free guidance with the
    patches of the model."""

    sides: tuple[str, ...]
    numbers: tuple[str, ...]
    needed: Callable[[Numbers], tuple[str, ...]]
    combine: Callable[[Sides, Numbers, Chain], Tensor]
    uncond: str | None = None


def no_guidance(scale: float) -> bool:
    return math.isclose(scale, 1.0, rel_tol=NO_GUIDANCE_TOLERANCE)


def _cfg_needed(numbers: Numbers) -> tuple[str, ...]:
    return ("positive",) if no_guidance(numbers["cfg"]) else ("positive", "negative")


def _cfg(sides: Sides, numbers: Numbers, chain: Chain) -> Tensor:
    if no_guidance(numbers["cfg"]):
        return sides["positive"]
    return chain.guide(sides["positive"], sides["negative"], numbers["cfg"])


def _basic(sides: Sides, numbers: Numbers, chain: Chain) -> Tensor:
    return sides["positive"]


def _perp_neg(sides: Sides, numbers: Numbers, chain: Chain) -> Tensor:
    """The negative direction less its part along the positive one; both from the empty prompt's prediction."""
    empty = sides["empty"]
    wanted, unwanted = sides["positive"] - empty, sides["negative"] - empty
    along = (unwanted * wanted).sum() / wanted.norm() ** 2
    denoised = empty + numbers["cfg"] * (wanted - (unwanted - along * wanted) * numbers["neg_scale"])
    return chain.finish(sides["positive"], sides["negative"], numbers["cfg"], denoised)


def _dual(sides: Sides, numbers: Numbers, chain: Chain) -> Tensor:
    """From the negative towards the middle side by one scale, on towards the positive one by another."""
    return chain.guide(sides["middle"], sides["negative"], numbers["cfg_negative"]) + (
        sides["positive"] - sides["middle"]
    ) * numbers["cfg"]


def _dual_nested(sides: Sides, numbers: Numbers, chain: Chain) -> Tensor:
    return chain.guide(
        chain.guide(sides["positive"], sides["middle"], numbers["cfg"]), sides["negative"], numbers["cfg_negative"]
    )


def _all(*names: str) -> Callable[[Numbers], tuple[str, ...]]:
    return lambda numbers: names


DUAL = ("positive", "middle", "negative")
GUIDERS: Mapping[str, GuiderDef] = MappingProxyType(
    {
        "basic": GuiderDef(("positive",), (), _all("positive"), _basic),
        "cfg": GuiderDef(("positive", "negative"), ("cfg",), _cfg_needed, _cfg, "negative"),
        "perp_neg": GuiderDef(
            ("positive", "negative", "empty"), ("cfg", "neg_scale"), _all("positive", "negative", "empty"), _perp_neg,
            "negative",
        ),
        "dual": GuiderDef(DUAL, ("cfg", "cfg_negative"), _all(*DUAL), _dual, "negative"),
        "dual_nested": GuiderDef(DUAL, ("cfg", "cfg_negative"), _all(*DUAL), _dual_nested, "negative"),
    }
)  # fmt: skip


def guider_def(guider: Guider) -> GuiderDef:
    """Raises RunError for a kind that is unknown, and for sides and numbers that do not fit it."""
    if guider.kind not in GUIDERS:
        raise RunError("unknown guider", expected=", ".join(GUIDERS), got=repr(guider.kind), hint="recompile")
    found = GUIDERS[guider.kind]
    for what, wanted, given in (("sides", found.sides, guider.sides), ("numbers", found.numbers, guider.numbers)):
        if sorted(wanted) != sorted(given):
            raise RunError(f"a guider of kind {guider.kind} has other {what}", expected=", ".join(sorted(wanted)),
                           got=", ".join(sorted(given)) or "none", hint="recompile")  # fmt: skip
    return found
