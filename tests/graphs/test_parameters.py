from __future__ import annotations

from typing import Any

import pytest

from graphs.node import COMBO, Input
from graphs.parameters import checked, converted, parameter_type
from graphs.program import Parameter

SEED = Parameter("3.seed", "INT", 0, 0, 2**64 - 1)
CFG = Parameter("3.cfg", "FLOAT", 8.0, 0.0, 100.0)
CROP = Parameter("4.crop", "COMBO", "center", options=("disabled", "center"))
LEVEL = Parameter("4.level", "COMBO", 1, options=(1, 2))
TEXT = Parameter("6.text", "STRING", "")
ON = Parameter("7.on", "BOOLEAN", False)


@pytest.mark.parametrize(
    ("parameter", "given", "value"),
    [
        (SEED, "18446744073709551615", 2**64 - 1),
        (SEED, 7.0, 7),
        (SEED, " 7 ", 7),
        (CFG, "7.5", 7.5),
        (CFG, 7, 7.0),
        (CROP, "disabled", "disabled"),
        (LEVEL, "2", 2),
        (TEXT, "7", "7"),
        (ON, "TRUE", True),
        (ON, 0, False),
    ],
)
def test_values_take_the_parameters_type(parameter: Parameter, given: Any, value: Any) -> None:
    result = checked(parameter, given)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("parameter", "given", "complaint"),
    [
        (SEED, "x", "whole number"),
        (SEED, 7.5, "whole number"),
        (SEED, float("inf"), "whole number"),
        (SEED, True, "whole number"),
        (SEED, None, "whole number"),
        (SEED, -1, "expected 0 to 18446744073709551615, got -1"),
        (SEED, 2**64, "expected 0 to"),
        (CFG, "nan", "finite"),
        (CFG, [], "expected a number"),
        (CFG, 100.5, "expected 0.0 to 100.0"),
        (CROP, "top", "disabled, center"),
        (TEXT, 7, "text"),
        (ON, "maybe", "true or false"),
    ],
)
def test_values_that_do_not_fit_say_what_was_expected(parameter: Parameter, given: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        checked(parameter, given)


def test_workflow_values_are_converted_as_the_server_does() -> None:
    assert [converted("INT", v) for v in ("20", 7.9, True)] == [20, 7, 1]
    assert converted("FLOAT", "7.5") == 7.5
    assert converted("STRING", 7) == "7"
    assert converted("BOOLEAN", 1) is True
    assert converted(COMBO, "euler") == "euler"
    bad_values: list[Any] = ["x", None, [], float("inf")]
    for bad in bad_values:
        with pytest.raises(ValueError):  # noqa: PT011  the text is Python's own
            converted("INT", bad)


def test_files_of_the_input_folder_have_types_of_their_own() -> None:
    assert parameter_type(Input("image", COMBO, folder="input", upload="image")) == "IMAGE_FILE"
    assert parameter_type(Input("latent", COMBO, folder="input")) == "LATENT_FILE"
    assert parameter_type(Input("crop", COMBO)) == COMBO
