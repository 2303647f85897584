"""Widget values: converted to the declared type, inside its range, among its choices."""

from __future__ import annotations

import math

from compiler.checking.files import KnownFiles, check_file, listed
from compiler.checking.findings import Findings, shown
from graphs.node import COMBO, Input, Json, Node
from graphs.node_classes import SCHEMAS_VERSION
from graphs.parameters import converted


def check_value(
    node: Node,
    declared: Input,
    given: Json,
    files: KnownFiles,
    findings: Findings,
    *,
    strict: bool,
    is_compiled: bool,
) -> Json:
    """The value as the node gets it; a value that is reported stays as it was given.

    is_compiled: the value decides what comfyc computes. For other classes, a choice that the schema does not have may
    be one of a newer ComfyUI.
    """
    try:
        value = converted(declared.type, given)
    except ValueError as error:
        message, reason = "the value cannot be read as its type", str(error)
        findings.add(
            "invalid_input_type", message, node, declared.name, expected=declared.type, got=shown(given),
            received_value=given, exception_message=reason,
        )  # fmt: skip
        return given
    if _loses(given, value):
        message = f"{shown(given)} is taken as {shown(value)}"
        findings.add("value_coerced", message, node, declared.name, severity="warning")
    if isinstance(value, int | float) and _is_outside(node, declared, value, findings):
        return given
    if declared.type == COMBO and not isinstance(value, list):  # a list is a multiple choice
        if declared.folder is not None:
            return check_file(node, declared, value, files, findings, strict=strict)
        if declared.options is not None and value not in declared.options:
            _not_a_choice(node, declared, value, findings, is_error=strict or is_compiled)
    return value


def _loses(before: Json, after: Json) -> bool:
    """Whether a conversion dropped something that a person wrote: 2.7 -> 2, None -> "None", "no" -> True."""
    if before is None or isinstance(before, list | dict):
        return True
    if isinstance(after, bool):
        return not isinstance(before, int | float)
    if isinstance(before, float) and isinstance(after, int):
        return not math.isclose(before, after, rel_tol=0, abs_tol=0)
    return False


def _is_outside(node: Node, declared: Input, value: float, findings: Findings) -> bool:
    if declared.min is not None and value < declared.min:
        kind, message, expected = "value_smaller_than_min", "the value is too small", f"at least {declared.min}"
    elif declared.max is not None and value > declared.max:
        kind, message, expected = "value_bigger_than_max", "the value is too big", f"at most {declared.max}"
    else:
        return False
    findings.add(kind, message, node, declared.name, expected=expected, got=str(value), received_value=value)
    return True


def _not_a_choice(node: Node, declared: Input, value: Json, findings: Findings, *, is_error: bool) -> None:
    options = declared.options or ()
    similar = findings.similar(value, options)
    hint = f"did you mean {' or '.join(repr(s) for s in similar)}?" if similar else "choose one of those"
    if not is_error:
        hint += f" A ComfyUI newer than {SCHEMAS_VERSION}, whose choices these are, may know it"
    findings.add(
        "value_not_in_list", "the value is not in the list", node, declared.name, expected=listed(options),
        got=shown(value), hint=hint, severity="error" if is_error else "warning", received_value=value,
    )  # fmt: skip
