"""Node classes that only pass a value on, as facts: which input goes where."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# class_type -> the input that its only output repeats, whatever its type. The name is what API files carry.
PASS_THROUGH: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Reroute": ("", "*", "value"),
        "Reroute (rgthree)": ("", "*", "value"),
        "ReroutePrimitive|pysssss": ("value",),
    }
)

# class_type -> the widget whose value its only output is.
PRIMITIVES: Mapping[str, str] = MappingProxyType(
    {
        "PrimitiveInt": "value",
        "PrimitiveFloat": "value",
        "PrimitiveString": "value",
        "PrimitiveStringMultiline": "value",
        "PrimitiveBoolean": "value",
    }
)
