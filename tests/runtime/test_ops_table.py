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
    assert sorted(set(required) - set(spec.groups)) == sorted(spec.inputs)
    assert {p.name for p in inputs} == {*spec.inputs, *spec.optional, *spec.groups}


def test_no_op_has_more_than_eight_inputs() -> None:
    assert max(len((*spec.inputs, *spec.optional, *spec.groups)) for spec in OPS.values()) <= 8


@pytest.mark.parametrize("name", OPS)
def test_inputs_stand_in_the_order_of_the_function(name: str) -> None:
    """So that a call by position in a test means what a step means."""
    spec = OPS[name]
    named = [p for p in inspect.signature(op_function(name)).parameters if p != "context"]
    required = [p for p in named if p in spec.inputs]
    assert tuple(required) == spec.inputs


def test_an_op_that_does_not_exist() -> None:
    with pytest.raises(KeyError):
        op_function("dance")
