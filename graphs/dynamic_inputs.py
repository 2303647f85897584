"""Inputs of V3 nodes whose names depend on the workflow: a declared input that stands for several, "PARENT.MEMBER".

An autogrow takes numbered or named members as long as they are linked ("images.image0", "values.b"). A dynamic combo
shows other members for each of its choices ("resize_type.width"). A dynamic group repeats rows ("loras.0.strength").
Members may be dynamic themselves. Source: /object_info of ComfyUI 0.8 to 0.33, and prompts made with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from graphs.node import COMBO, Input
from graphs.object_info import input_def

Json = Any

AUTOGROW = "COMFY_AUTOGROW_V3"
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
DYNAMIC_GROUP = "COMFY_DYNAMICGROUP_V3"
LIST_KINDS = frozenset({AUTOGROW, DYNAMIC_GROUP})  # any number of members: no value of their own
DYNAMIC = frozenset({DYNAMIC_COMBO, *LIST_KINDS})
_DIGITS = re.compile(r"(\d+)")


def inputs_of(inputs: tuple[Input, ...], given: Mapping[str, Json]) -> tuple[Input, ...]:
    """The inputs of a node that is given these values; the very tuple where none of them is dynamic."""
    if not any(declared.type in DYNAMIC for declared in inputs):
        return inputs
    return tuple(expanded(inputs, given))


def expanded(inputs: Iterable[Input], given: Mapping[str, Json]) -> Iterator[Input]:
    """The inputs with those that dynamic ones stand for, in a node that is given these values.

    A dynamic combo comes as a COMBO of its choices, followed by the members of the choice. An autogrow or a group comes
    as the members that are given, in the order of their names, and no input of its own.
    """
    for declared in inputs:
        if declared.type == DYNAMIC_COMBO:
            choice = as_combo(declared)
            yield choice
            yield from expanded(combo_members(declared, given.get(declared.name, choice.default)), given)
        elif declared.type in LIST_KINDS:
            members = _list_members(declared, given)
            yield from expanded(members, given)
        else:
            yield declared


def as_combo(declared: Input) -> Input:
    """A dynamic combo as the combo of its choices; the first is the default."""
    keys = tuple(option.get("key") for option in _options(declared))
    default = declared.default if declared.default is not None else next(iter(keys), None)
    return replace(declared, type=COMBO, options=keys, default=default, extra={})


def combo_members(declared: Input, choice: Json) -> list[Input]:
    """The inputs that a dynamic combo shows for a choice; none for a choice that it does not have."""
    for option in _options(declared):
        if option.get("key") == choice:
            return list(_sections(option.get("inputs"), f"{declared.name}."))
    return []


def all_members(declared: Input) -> dict[str, Input]:
    """The inputs of every choice of a dynamic combo, by their name inside it."""
    found: dict[str, Input] = {}
    for option in _options(declared):
        for member in _sections(option.get("inputs"), ""):
            found.setdefault(member.name, member)
    return found


def _options(declared: Input) -> list[Mapping[str, Json]]:
    options = declared.extra.get("options")
    return [o for o in options if isinstance(o, Mapping)] if isinstance(options, list) else []


def _sections(inputs: Json, prefix: str) -> Iterator[Input]:
    """The inputs of an object {"required": {name: spec}, "optional": ...}, their names behind the prefix."""
    for section in ("required", "optional"):
        members = inputs.get(section) if isinstance(inputs, Mapping) else None
        for name, spec in (members or {}).items():
            yield input_def("", f"{prefix}{name}", spec, required=section == "required")


def _list_members(declared: Input, given: Mapping[str, Json]) -> list[Input]:
    """Those of an autogrow or a group, one for each name that is given, or that must be."""
    template = declared.extra.get("template")
    template = template if isinstance(template, Mapping) else {}
    stem = f"{declared.name}."
    given_names = {name.removeprefix(stem).partition(".")[0] for name in given if name.startswith(stem)}
    if declared.type == DYNAMIC_GROUP:
        return [i for row in sorted(given_names, key=_natural) for i in _sections(template, f"{stem}{row}.")]
    sample = next(_sections(template.get("input"), ""), Input("", "*", required=False))
    least = int(template.get("min") or 0) if sample.required else 0
    order = [str(n) for n in template.get("names") or ()]
    prefix = template.get("prefix") or ""
    must = order[:least] if order else [f"{prefix}{i}" for i in range(least)]
    place = {name: index for index, name in enumerate(order)}
    names = sorted(given_names | set(must), key=lambda name: (place.get(name, len(order)), _natural(name)))
    return [replace(sample, name=f"{stem}{name}", required=name in must) for name in names]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A key that sorts image2 before image10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in _DIGITS.split(name)]
