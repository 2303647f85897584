"""A row is what comfyc adds to the schema of a node class: how it lowers. The schema itself is data.

Three kinds, from the least to the most to write:
  interpreted("InvertMask", "runtime.ops.mask:invert_mask")  a function on the host that takes the node's inputs
  op("LatentUpscaleBy", "scale_latent", samples="latent")    one op that is there already; renames its inputs
  compiled("VAEDecode", _lower_decode)                       a lower() of its own
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from graphs.definition import Builder, Lower, NodeDef
from graphs.dynamic_inputs import AUTOGROW, DYNAMIC_COMBO, all_members
from graphs.node import Node
from graphs.object_info import node_def
from graphs.operands import Literal, OperandTree
from graphs.shipped_schemas import shipped

Json = Any


@dataclass(frozen=True)
class Row:
    """schema: the class's entry of /object_info; None takes the one that ships with comfyc.

    pure: equal inputs give equal outputs and nothing else happens; a class that is an output node never is.
    place: "module:function" of an interpreted node. The function is imported when the first plan runs it.
    folds: of an interpreted node whose outputs are small: they are computed while compiling where the inputs are known.
    """

    class_type: str
    lower: Lower
    schema: Json | None = None
    pure: bool = True
    place: str | None = None
    folds: bool = False

    @property
    def op(self) -> str | None:
        """The op of an interpreted node: the name of its function."""
        return None if self.place is None else self.place.partition(":")[2]


def compiled(class_type: str, lower: Lower, *, pure: bool = True, schema: Json | None = None) -> Row:
    return Row(class_type, lower, schema, pure)


def op(class_type: str, name: str, *, pure: bool = True, schema: Json | None = None, **renamed: str) -> Row:
    """A node that is one op. renamed: input of the node -> input of the op, where the two differ.

    The outputs of the node are those of the op, in order.
    """
    return Row(class_type, _one_op(name, renamed), schema, pure)


def interpreted(class_type: str, place: str, *, schema: Json | None = None, folds: bool = False) -> Row:
    """A node that is one pure function on the host: place, "module:function", called as function(context, **inputs).

    The op is called as the function, and takes and gives what the schema says.
    """
    row = Row(class_type, _one_op(place.partition(":")[2], {}), schema, True, place, folds)
    assert row.op, f"{class_type}: '{place}' is no 'module:function'"
    return row


def _one_op(name: str, renamed: Mapping[str, str]) -> Lower:
    def lower(node: Node, b: Builder) -> None:
        inputs: dict[str, OperandTree] = {}
        for declared in b.definition.inputs:
            key = renamed.get(declared.name, declared.name)
            if declared.type == AUTOGROW:
                inputs[key] = tuple(b.operand(member) for member in b.inputs_like(f"{declared.name}."))
            elif declared.type == DYNAMIC_COMBO:
                # Another choice would need other members, so the choice is no parameter of the plan.
                inputs[key] = Literal(b.constant(declared.name))
                members = b.inputs_like(f"{declared.name}.")
                inputs.update((member.rpartition(".")[2], b.operand(member)) for member in members)
            elif not declared.hidden and (b.has(declared.name) or not declared.may_lack):
                inputs[key] = b.operand(declared.name)
        for slot, value in enumerate(b.emit(name, inputs)):
            b.output(slot, value)

    return lower


def interpreted_inputs(node: NodeDef) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the function of an interpreted node must take, and what it may: the names of its inputs.

    An autogrow is one input, a tuple. A dynamic combo is one for the choice and one for each member of any choice.
    """
    must: list[str] = []
    may: list[str] = []
    for declared in node.inputs:
        if declared.type == DYNAMIC_COMBO:
            may += all_members(declared)
        if not declared.hidden:
            (may if declared.may_lack and declared.type != AUTOGROW else must).append(declared.name)
    assert len({*must, *may}) == len(must) + len(may), f"{node.class_type}: two inputs of one name"
    return tuple(must), tuple(may)


class NodeTable(Mapping[str, NodeDef]):
    """class_type -> NodeDef, each made from its row and its schema on first use.

    A command that reads one workflow pays for the classes in it, and one that reads none parses no schema.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows: Mapping[str, Row] = MappingProxyType({row.class_type: row for row in rows})
        self.ops: Mapping[str, str] = MappingProxyType(
            {row.op: row.class_type for row in self.rows.values() if row.op is not None}
        )  # op of an interpreted node -> its class
        self._made: dict[str, NodeDef] = {}

    def __getitem__(self, class_type: str) -> NodeDef:
        known = self._made.get(class_type)
        if known is None:
            known = self._made[class_type] = definition(self.rows[class_type])
        return known

    def __contains__(self, class_type: object) -> bool:
        return class_type in self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def definition(row: Row) -> NodeDef:
    """The row and its schema as one. Raises KeyError where there is no schema, WorkflowError where it is damaged."""
    schema = node_def(row.class_type, shipped()[row.class_type] if row.schema is None else row.schema)
    return replace(schema, lower=row.lower, pure=row.pure and not schema.output_node, place=row.place, folds=row.folds)
