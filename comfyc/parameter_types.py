"""The forms that options take on the command line: batches, sizes, targets, NODE.INPUT=VALUE."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import click

PIXELS = 8  # sizes are whole latent pixels
SIDE = (16, 16384)


@dataclass(frozen=True)
class Size:
    """What --size says, in pixels: (least, most) of each side."""

    width: tuple[int, int]
    height: tuple[int, int]


class BatchType(click.ParamType[tuple[int, int]]):
    """`4` (just that), `1:4` or `1..4`."""

    name = "N or MIN:MAX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)(?:(?::|\.\.)(\d+))?", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a batch; write 4 or 1:4", param, ctx)
        least, most = int(match[1]), int(match[2] or match[1])
        if not 1 <= least <= most <= 4096:
            self.fail(f"{value!r}: a batch range goes from 1 or more up to as many or more (at most 4096)", param, ctx)
        return least, most


class SizeType(click.ParamType[Size]):
    """`512` or `512x768` (just that, width x height), `512..1024`, `512x512..768x1024`."""

    name = "SIZE or MIN..MAX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        if isinstance(value, Size):
            return value
        match = re.fullmatch(r"(\d+)(?:x(\d+))?(?:(?:\.\.|:)(\d+)(?:x(\d+))?)?", str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} is not a size; write 512, 512x768, 512..1024 or 512x512..768x1024", param, ctx)
        width, height = int(match[1]), int(match[2] or match[1])
        most_width = int(match[3] or width)
        most_height = int(match[4] or match[3] or height)
        for side in (width, height, most_width, most_height):
            if side % PIXELS or not SIDE[0] <= side <= SIDE[1]:
                self.fail(f"{side} is not a multiple of {PIXELS} from {SIDE[0]} to {SIDE[1]} pixels", param, ctx)
        if width > most_width or height > most_height:
            self.fail(f"{value!r}: the smaller size comes first", param, ctx)
        return Size((width, most_width), (height, most_height))


class SettingType(click.ParamType[tuple[str, str]]):
    """`NODE.INPUT=VALUE`, e.g. 6.text="a lighthouse"."""

    name = "NODE.INPUT=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        node, dot, name = key.strip().partition(".")
        if not (equals and dot and node and name):
            self.fail(f'{value!r} is not NODE.INPUT=VALUE, for example 6.text="a lighthouse" or 3.seed=7', param, ctx)
        return key.strip(), text


class ParameterNameType(click.ParamType[str]):
    """`NODE.INPUT`, e.g. 6.text."""

    name = "NODE.INPUT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        node, _, name = str(value).partition(".")
        if not node or not name:
            self.fail(f"{value!r} is not NODE.INPUT, for example 6.text", param, ctx)
        return str(value)


class TargetsType(click.ParamType[tuple[str, ...]]):
    """`sm89` or `sm89,sm120`: GPU compute capabilities to build engines for."""

    name = "smXX[,smYY...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        parts = tuple(p.strip().lower().replace("_", "") for p in str(value).split(",") if p.strip())
        for part in parts:
            if not re.fullmatch(r"sm\d{2,3}", part):
                self.fail(f"{part!r} is not a GPU target; write sm89 or sm89,sm120", param, ctx)
        if not parts:
            self.fail("name at least one GPU target, for example sm89", param, ctx)
        return tuple(dict.fromkeys(parts))
