"""The primitive nodes of the server: one widget that is passed on. Each becomes a parameter of the plan."""

from __future__ import annotations

from graphs.definition import Builder, NodeDef
from graphs.node import Input, Node, Output

MAX_INT = 2**63 - 1


def _lower_primitive(node: Node, b: Builder) -> None:
    b.output(0, b.value("value"))


def _primitive(class_type: str, display_name: str, value: Input) -> NodeDef:
    return NodeDef(
        class_type=class_type,
        display_name=display_name,
        category="utils/primitive",
        inputs=(value,),
        outputs=(Output(value.type, value.type),),
        lower=_lower_primitive,
    )


PRIMITIVE_INT = _primitive(
    "PrimitiveInt", "Int", Input("value", "INT", min=-MAX_INT, max=MAX_INT, control_after_generate=True)
)
PRIMITIVE_FLOAT = _primitive("PrimitiveFloat", "Float", Input("value", "FLOAT", min=-MAX_INT, max=MAX_INT))
PRIMITIVE_STRING = _primitive("PrimitiveString", "String", Input("value", "STRING"))
PRIMITIVE_STRING_MULTILINE = _primitive(
    "PrimitiveStringMultiline", "String (Multiline)", Input("value", "STRING", multiline=True)
)
PRIMITIVE_BOOLEAN = _primitive("PrimitiveBoolean", "Boolean", Input("value", "BOOLEAN"))
