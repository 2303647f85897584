"""The model families that comfyc compiles: FAMILIES is the table. One more is a file with a row, and a line here."""

from __future__ import annotations

from compiler.families.family import Encoder, Family
from compiler.families.sd1 import SD1
from compiler.families.sd2 import SD2
from compiler.families.sdxl import SDXL
from compiler.families.sdxl_refiner import SDXL_REFINER
from compiler.networks.unet_config import UNetConfig

FAMILIES: tuple[Family, ...] = (SD1, SD2, SDXL, SDXL_REFINER)


def family_of(unet: UNetConfig) -> Family | None:
    """The family of a U-Net; None where it is of none that is compiled."""
    return next((family for family in FAMILIES if family.fits(unet)), None)


def family_of_text(encoders: frozenset[str]) -> Family | None:
    """The family that reads prompts with these text encoders."""
    return next((family for family in FAMILIES if family.text.names == encoders), None)


def encoders(family: Family | None) -> dict[str, Encoder]:
    """Text encoders by name: those of a family, or all that any family has."""
    rows = (family,) if family is not None else reversed(FAMILIES)
    return {encoder.name: encoder for row in rows for encoder in row.text.encoders}


__all__ = ["FAMILIES", "SD1", "SD2", "SDXL", "SDXL_REFINER", "Family", "encoders", "family_of", "family_of_text"]
