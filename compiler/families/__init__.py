"""The model families that comfyc compiles: FAMILIES is the table. One more is a file with a row, and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.families.family import Encoder, Family
from compiler.families.sd1 import SD1
from compiler.families.sd2 import SD2
from compiler.families.sdxl import SDXL
from compiler.families.sdxl_refiner import SDXL_REFINER
from compiler.networks.network import Config

FAMILIES: tuple[Family, ...] = (SD1, SD2, SDXL, SDXL_REFINER)


def family_of(part: str, config: Config) -> Family | None:
    """The family of a denoiser, by its part and config; None where it is of none that is compiled."""
    return next((family for family in FAMILIES if family.denoiser.name == part and family.fits(config)), None)


def denoiser_among(parts: Mapping[str, Config]) -> str | None:
    """The part of a file, by name, that is sampled with; None where there is none."""
    names = (family.denoiser.name for family in FAMILIES)
    return next((name for name in names if name in parts), None)


def family_of_text(encoders: frozenset[str]) -> Family | None:
    """The family that reads prompts with these text encoders."""
    return next((family for family in FAMILIES if family.text.names == encoders), None)


def encoders(family: Family | None) -> dict[str, Encoder]:
    """Text encoders by name: those of a family, or all that any family has."""
    rows = (family,) if family is not None else reversed(FAMILIES)
    return {encoder.name: encoder for row in rows for encoder in row.text.encoders}


__all__ = [
    "FAMILIES",
    "SD1",
    "SD2",
    "SDXL",
    "SDXL_REFINER",
    "Family",
    "denoiser_among",
    "encoders",
    "family_of",
    "family_of_text",
]
