"""Values of parameters: from what a workflow, a command line or a request wrote to what an op takes."""

from __future__ import annotations

import math
from typing import Any

from graphs.node import Input
from graphs.program import Parameter

Json = Any

IMAGE_FILE = "IMAGE_FILE"
LATENT_FILE = "LATENT_FILE"
FILE_TYPES = frozenset({IMAGE_FILE, LATENT_FILE})
_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


def parameter_type(schema: Input) -> str:
    """The type a parameter of this input has: the widget's, or that of a file of the input folder."""
    if schema.folder == "input":
        return IMAGE_FILE if schema.upload == "image" else LATENT_FILE
    return schema.type


def converted(type_name: str, value: Json) -> Json:
    """A value as ComfyUI converts it on its way into a node of that input type. Raises ValueError.

    INT of 7.9 is 7, of "7" is 7; STRING of 7 is "7"; every other type is left alone."""
    try:
        if type_name == "INT":
            return int(value)
        if type_name == "FLOAT":
            return float(value)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None
    if type_name == "STRING":
        return str(value)
    if type_name == "BOOLEAN":
        return bool(value)
    return value


# Python's types of a value. Others (COMBO, types of the front end) may have any.
_TYPES: dict[str, tuple[type, ...]] = {
    "INT": (int,),
    "FLOAT": (int, float),
    "STRING": (str,),
    "BOOLEAN": (bool,),
    IMAGE_FILE: (str,),
    LATENT_FILE: (str,),
}


def fits(type_name: str, value: Json) -> bool:
    """Whether a value is of a type, so that nothing has to be converted."""
    types = _TYPES.get(type_name)
    return types is None or (isinstance(value, types) and (not isinstance(value, bool) or bool in types))


def checked(parameter: Parameter, value: Json) -> Json:
    """A value a person gave, as the parameter's type, inside its range and options.

    Stricter than a workflow's own values: 7.9 is no INT. Raises ValueError saying what was expected.
    """
    if parameter.type == "INT":
        return _in_range(parameter, _integer(value))
    if parameter.type == "FLOAT":
        return _in_range(parameter, _number(value))
    if parameter.type == "BOOLEAN":
        return _boolean(value)
    if parameter.options is not None:
        return _option(parameter.options, value)
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {value!r}")
    return value


def _integer(value: Json) -> int:
    if isinstance(value, bool):
        raise ValueError(f"expected a whole number, got {value}")
    if isinstance(value, int):
        return value
    try:
        number = int(value.strip()) if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected a whole number, got {value!r}") from None
    if not math.isfinite(number) or number != int(number):
        raise ValueError(f"expected a whole number, got {value!r}")
    return int(number)


def _number(value: Json) -> float:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {value}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected a number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {value!r}")
    return number


def _boolean(value: Json) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"expected true or false, got {value!r}")


def _in_range(parameter: Parameter, value: float) -> float:
    low, high = parameter.min, parameter.max
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"expected {'-inf' if low is None else low} to {'inf' if high is None else high}, got {value}")
    return value


def _option(options: tuple[Json, ...], value: Json) -> Json:
    for option in options:
        if option == value or (isinstance(value, str) and str(option) == value):
            return option
    shown = ", ".join(str(option) for option in options[:50])
    raise ValueError(f"expected one of {shown}; got {value!r}")
