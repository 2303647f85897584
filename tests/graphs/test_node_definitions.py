"""The table of nodes: a row and a schema each, and functions that take what the schema says."""

from __future__ import annotations

import pytest

from graphs.definition import NodeDef
from graphs.nodes import FAMILIES, NODES
from graphs.ops import OPS
from graphs.shipped_schemas import shipped


def test_every_row_is_in_the_table_once_and_has_a_schema() -> None:
    rows = [row for family in FAMILIES for row in family.ROWS]
    assert len(rows) == len(NODES) > 60
    assert [name for name in NODES if name not in shipped()] == []


@pytest.mark.parametrize("definition", NODES.values(), ids=NODES.keys())
def test_rows_have_the_schema_that_ships(definition: NodeDef) -> None:
    entry = shipped()[definition.class_type]
    assert [o.type for o in definition.outputs] == entry["output"]
    assert definition.lower is not None
    assert definition.output_node == bool(entry.get("output_node"))
    assert not (definition.pure and definition.output_node)


def test_rows_of_one_family_are_sorted() -> None:
    for family in FAMILIES:
        names = [row.class_type.lower() for row in family.ROWS]
        assert names == sorted(names), family.__name__


def test_only_what_is_asked_for_is_parsed() -> None:
    spec = OPS["invert_mask"]
    assert (spec.inputs, spec.outputs, spec.pure) == (("mask",), ("mask",), True)
    assert OPS["image_size"].outputs == ("width", "height", "batch_size")
    assert "no_such_op" not in OPS
