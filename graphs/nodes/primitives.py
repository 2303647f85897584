"""The primitive nodes of the server: one widget that is passed on. Each becomes a parameter of the plan."""

from __future__ import annotations

from graphs.definition import Builder
from graphs.node import Node
from graphs.rows import compiled


def _lower_primitive(node: Node, b: Builder) -> None:
    b.output(0, b.value("value"))


ROWS = (
    compiled("PrimitiveBoolean", _lower_primitive),
    compiled("PrimitiveFloat", _lower_primitive),
    compiled("PrimitiveInt", _lower_primitive),
    compiled("PrimitiveString", _lower_primitive),
    compiled("PrimitiveStringMultiline", _lower_primitive),
)
