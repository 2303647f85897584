"""The facts about ComfyUI's built-in node classes that ship with comfyc, as an /object_info answer has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

Json = Any

FILES = ("schemas.json", "schemas_newer.json")  # the later wins


@cache
def shipped() -> Mapping[str, Json]:
    """class_type -> its entry. Read once per process, on first use (about 3 ms)."""
    folder, facts = resources.files("graphs.nodes"), {}
    for name in FILES:
        facts.update(json.loads((folder / name).read_text("utf-8")))
    return MappingProxyType(facts)
