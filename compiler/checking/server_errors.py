"""Problems as the body of the server's error answer, for clients that speak ComfyUI's HTTP API.

{"error": {type, message, details, extra_info} or None, "node_errors": {id: {errors, dependent_outputs, class_type}}}
Source: answers recorded from a server of version 0.3.64. Prose of the schemas (tooltips) is not ours and left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compiler.checking.coercion import Folders, choices
from graphs.errors import Problem
from graphs.node import COMBO, Input

Json = Any

_MESSAGES = {
    "required_input_missing": "Required input is missing",
    "return_type_mismatch": "Return type mismatch between linked nodes",
    "bad_linked_input": "Bad linked input, must be a length-2 list of [node_id, slot_index]",
    "value_not_in_list": "Value not in list",
    "custom_validation_failed": "Custom validation failed for node",
}
# Options of an input, by the name they have in an answer, in the order in which schemas write them.
_OPTIONS = (("default", "default"), ("min", "min"), ("max", "max"), ("step", "step"), ("round", "round"))
_FLAGS = (
    ("multiline", "multiline"),
    ("dynamicPrompts", "dynamic_prompts"),
    ("forceInput", "force_input"),
    ("control_after_generate", "control_after_generate"),
)


def to_comfyui(problems: Iterable[Problem]) -> dict[str, Json]:
    """The whole answer. Warnings and infos are not in it; error is None when nothing is wrong."""
    errors = [problem for problem in problems if problem.severity == "error"]
    return {"error": _headline(errors), "node_errors": node_errors(errors)}


def node_errors(problems: Iterable[Problem]) -> dict[str, Json]:
    """Errors by node id. Errors of the prompt as a whole (unknown class, no outputs, cycle) are not among them."""
    answer: dict[str, Json] = {}
    for problem in problems:
        if problem.severity != "error" or problem.node_id is None or problem.type in _WHOLE_PROMPT:
            continue
        entry = answer.setdefault(
            problem.node_id,
            {"errors": [], "dependent_outputs": list(problem.dependent_outputs), "class_type": problem.class_type},
        )
        entry["errors"].append(
            {
                "type": problem.type,
                "message": _message(problem),
                "details": problem.details if problem.details is not None else str(problem),
                "extra_info": dict(problem.extra_info),
            }
        )
    return answer


_WHOLE_PROMPT = frozenset({"missing_node_type", "prompt_no_outputs", "cycle"})


def input_config(declared: Input, folders: Folders | None) -> list[Json]:
    """The schema of an input as an answer repeats it: [type or list of choices, options]."""
    kind: Json = declared.type
    if declared.type == COMBO:
        kind = list(choices(declared, folders) or declared.options or ())
    options = {key: value for key, field in _OPTIONS if (value := getattr(declared, field)) is not None}
    options |= {key: True for key, field in _FLAGS if getattr(declared, field)}
    return [kind, options]


def _headline(errors: list[Problem]) -> dict[str, Json] | None:
    unknown = next((p for p in errors if p.type == "missing_node_type"), None)
    if unknown is not None:
        message = f"Cannot execute because node {unknown.class_type} does not exist."
        return _error("invalid_prompt", message, f"Node ID '#{unknown.node_id}'")
    if any(p.type == "prompt_no_outputs" for p in errors):
        return _error("prompt_no_outputs", "Prompt has no outputs")
    return _error("prompt_outputs_failed_validation", "Prompt outputs failed validation") if errors else None


def _error(kind: str, message: str, details: str = "") -> dict[str, Json]:
    return {"type": kind, "message": message, "details": details, "extra_info": {}}


def _message(problem: Problem) -> str:
    if problem.type == "invalid_input_type":
        return f"Failed to convert an input value to a {problem.expected} value"
    if problem.type in ("value_smaller_than_min", "value_bigger_than_max"):
        word, side = ("smaller", "min") if problem.type.endswith("min") else ("bigger", "max")
        limit = problem.extra_info["input_config"][1][side]
        return f"Value {problem.extra_info['received_value']} {word} than {side} of {limit}"
    return _MESSAGES.get(problem.type, problem.message)
