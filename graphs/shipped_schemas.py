"""The facts about ComfyUI's built-in node classes that ship with comfyc, as an /object_info answer has them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

Json = Any

FOLDER = os.path.join(os.path.dirname(__file__), "nodes")  # importlib.resources would cost every start 10 ms
FILES = ("schemas.json", "schemas_newer.json")  # the later wins


@cache
def shipped() -> Mapping[str, Json]:
    """class_type -> its entry. Read once per process, on first use (5 ms)."""
    facts: dict[str, Json] = {}
    for name in FILES:
        with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
            facts.update(json.load(file))
    return MappingProxyType(facts)
