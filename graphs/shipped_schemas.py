"""The facts about ComfyUI's built-in node classes that ship with comfyc, as an /object_info answer has them.

schemas.json holds one class per line (tools/make_schemas.py), so that a line is parsed when its class is asked for:
loading is a split of the text, and a command that reads one workflow pays for its classes only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

Json = Any

FOLDER = os.path.dirname(__file__)  # importlib.resources would cost every start 10 ms


class FactLines(Mapping[str, Json]):
    """schemas.json: class name -> its facts, each line parsed on first use. Lines are `"Name": {...},`."""

    def __init__(self, text: str) -> None:
        self._lines: dict[str, str] = {}
        for line in text.splitlines()[1:-1]:
            name, _, facts = line.partition(": ")
            self._lines[json.loads(name)] = facts
        self._parsed: dict[str, Json] = {}

    def __getitem__(self, class_type: str) -> Json:
        if class_type not in self._parsed:
            self._parsed[class_type] = json.loads(self._lines[class_type].rstrip(","))
        return self._parsed[class_type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, class_type: object) -> bool:
        return class_type in self._lines


@cache
def shipped() -> Mapping[str, Json]:
    """class_type -> its entry. Read once per process, on first use (2 ms)."""
    return FactLines(_text("schemas.json"))


@cache
def partner_classes() -> frozenset[str]:
    """Names of built-in classes that call a partner's paid service (API nodes); comfyc knows them by name only."""
    return frozenset(_text("partner_nodes.txt").split())


def _text(name: str) -> str:
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()
