"""Which file a written name means, where none has exactly that name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Match:
    """name: the file that is meant, None where that is not certain. is_elsewhere: it lies in another sub-folder.

    candidates: the files that it could be, where there are several.
    """

    name: str | None = None
    is_elsewhere: bool = False
    candidates: tuple[str, ...] = ()


def match_name(wanted: str, names: Iterable[str]) -> Match:
    """The one of the relative names that `wanted` means; two that fit equally well are not guessed between.

    1. equal but for the direction of slashes and the Unicode normal form ("é" of one or of two code points)
    2. and but for letter case
    3. and but for the sub-folder
    """
    rules = (_unified, folded, _base)
    written = [rule(wanted) for rule in rules]
    found: list[list[str]] = [[] for _ in rules]
    for name in dict.fromkeys(names):
        for rule, target, same in zip(rules, written, found, strict=True):
            if rule(name) == target:
                same.append(name)
    for number, same in enumerate(found):
        if len(same) == 1:
            return Match(same[0], is_elsewhere=number == 2)
        if same:
            return Match(candidates=tuple(same))
    return Match()


def _unified(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/").strip().removeprefix("./"))


def folded(name: str) -> str:
    """A name as it is compared: slashes forward, in Unicode normal form C, without letter case."""
    return unicodedata.normalize("NFC", _unified(name).casefold())


def _base(name: str) -> str:
    return folded(name).rsplit("/", 1)[-1]
