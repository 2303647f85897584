"""OPS_TABLE and graphs.ops.OPS speak of the same ops, and every function takes what its OpSpec says."""

from __future__ import annotations

import inspect

import pytest

from graphs.ops import OPS
from runtime.ops import OPS_TABLE, op_function


def test_every_op_has_a_function() -> None:
    assert set(OPS_TABLE) == {name for name, spec in OPS.items() if spec.place is None}


@pytest.mark.parametrize("name", OPS)
def test_functions_take_the_inputs_of_their_spec(name: str) -> None:
    spec = OPS[name]
    first, *inputs = inspect.signature(op_function(name)).parameters.values()
    assert first.name == "context"
    required = [p.name for p in inputs if p.default is inspect.Parameter.empty]
    assert sorted(required) == sorted(spec.inputs)
    assert {p.name for p in inputs} >= {*spec.inputs, *spec.optional}


def test_an_op_that_does_not_exist() -> None:
    with pytest.raises(KeyError):
        op_function("dance")
