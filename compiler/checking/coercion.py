"""Widget values: to the declared type as the server converts them, and against the choices of a combo."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from graphs.node import COMBO, Input

Json = Any
Folders = Mapping[str, Sequence[str]]  # model folder ("checkpoints", "input", ...) -> files, as paths inside it

_CONVERTERS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
_OTHER_FOLDERS = (" [output]", " [temp]")
_ANNOTATIONS = (" [input]", *_OTHER_FOLDERS)  # LoadImage writes the folder behind the name


def converted(type_name: str, value: Json) -> Json:
    """The value as the server converts it for an input of this type.

    Raises: ValueError, TypeError or OverflowError in the words of int() and float().
    """
    convert = _CONVERTERS.get(type_name)
    return value if convert is None else convert(value)


def loses(before: Json, after: Json) -> bool:
    """Whether a conversion dropped something that a person wrote: 2.7 -> 2, None -> "None", "no" -> True."""
    if before is None or isinstance(before, list | dict):
        return True
    if isinstance(after, bool):
        return not isinstance(before, int | float)
    if isinstance(before, float) and isinstance(after, int):
        return not math.isclose(before, after, rel_tol=0, abs_tol=0)
    return False


@dataclass(frozen=True, slots=True)
class Choice:
    """value: the entry of the list that was meant, None when there is none. elsewhere: found in another folder.

    suggestions: what may have been meant, when none was found.
    """

    value: Json = None
    found: bool = False
    elsewhere: bool = False
    suggestions: tuple[str, ...] = ()


def choices(schema: Input, folders: Folders | None) -> tuple[Json, ...] | None:
    """What a combo accepts: its fixed options, then the files of its folder; None when that is not known here."""
    if schema.folder is None:
        return schema.options
    if folders is None or schema.folder not in folders:
        return None
    return (*(schema.options or ()), *folders[schema.folder])


def choose(schema: Input, value: Json, accepted: tuple[Json, ...]) -> Choice:
    """The entry of `accepted` that the value means.

    1. An equal entry. 2. For files, one that is equal but for case and the direction of slashes. 3. For files, the only
    one of that base name in whatever sub-folder; two of them are not guessed between.
    """
    if value in accepted:
        return Choice(value, found=True)
    if schema.folder is None or not isinstance(value, str):
        return Choice(suggestions=_similar(value, accepted))
    wanted, annotation = _annotated(value)
    if annotation in _OTHER_FOLDERS:
        return Choice(value, found=True)  # its folder is not among those that are known here
    files = [entry for entry in accepted if isinstance(entry, str)]
    same = [entry for entry in files if _folded(entry) == _folded(wanted)]
    if len(same) == 1:
        return Choice(same[0] + annotation, found=True)
    named = same or [entry for entry in files if _base(entry) == _base(wanted)]
    if len(named) == 1:
        return Choice(named[0] + annotation, found=True, elsewhere=True)
    return Choice(suggestions=tuple(named) or _similar(wanted, accepted))


def default_of(schema: Input) -> Json:
    """What stands in for a missing widget value: the schema's default, else the first of fixed options, else None."""
    if schema.default is not None:
        return schema.default
    if schema.type == COMBO and schema.folder is None and schema.options:
        return schema.options[0]
    return None


def _annotated(value: str) -> tuple[str, str]:
    for annotation in _ANNOTATIONS:
        if value.endswith(annotation):
            return value[: -len(annotation)], annotation
    return value, ""


def _folded(path: str) -> str:
    return path.replace("\\", "/").casefold()


def _base(path: str) -> str:
    return _folded(path).rsplit("/", 1)[-1]


def _similar(value: Json, accepted: Sequence[Json]) -> tuple[str, ...]:
    return tuple(get_close_matches(str(value), [str(entry) for entry in accepted], n=3, cutoff=0.6))
