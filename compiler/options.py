"""What a compile was asked for: one frozen value, part of nothing global."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphs.plan import COMPATS, Profile


@dataclass(frozen=True)
class CompileOptions:
    """backend "auto" picks and says why. freeze: parameters ("6.text") fixed for good. level 0: no optional pass.

    fold: whether values that follow from the workflow alone are computed now; without it compiling loads no engine, and
    the first run computes them (a server wants that).
    fixed_sides: of the profile, those that were chosen; the others grow to what the workflow itself asks for.
    strict: what is wrong with one output stops the others too, and nothing is forgiven (see compiler.checking.check).
    """

    backend: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    profile: Profile = field(default_factory=Profile)
    targets: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    compat: str = COMPATS[0]
    level: int = 1
    fold: bool = True
    strict: bool = False
    fixed_sides: tuple[str, ...] = ()
