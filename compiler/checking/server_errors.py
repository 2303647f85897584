"""Problems as the body of the server's error answer, for clients that speak ComfyUI's HTTP API.

{"error": {type, message, details, extra_info} or None, "node_errors": {id: {errors, dependent_outputs, class_type}}}
Source: answers recorded from a server of version 0.3.64. Prose of the schemas (tooltips) is not ours and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from compiler.checking.files import Files
from graphs.definition import NodeDef
from graphs.errors import Problem
from graphs.node import COMBO, Input
from graphs.node_classes import find_schema

Json = Any

_MESSAGES = {
    "required_input_missing": "Required input is missing",
    "return_type_mismatch": "Return type mismatch between linked nodes",
    "bad_linked_input": "Bad linked input, must be a length-2 list of [node_id, slot_index]",
    "value_not_in_list": "Value not in list",
    "custom_validation_failed": "Custom validation failed for node",
}
# Types whose answer repeats the schema of the input, and what was received.
_DETAILED = frozenset(
    {"return_type_mismatch", "bad_linked_input", "value_not_in_list", "custom_validation_failed", "invalid_input_type"}
    | {"value_smaller_than_min", "value_bigger_than_max"}
)
_FACTS = ("received_value", "received_type", "linked_node", "exception_message")
LONG_LIST = 20  # the server leaves longer lists out of its answer
# Options of an input, by the name they have in an answer, in the order in which schemas write them.
_OPTIONS = (("default", "default"), ("min", "min"), ("max", "max"), ("step", "step"), ("round", "round"))
_FLAGS = (
    ("multiline", "multiline"),
    ("dynamicPrompts", "dynamic_prompts"),
    ("forceInput", "force_input"),
    ("control_after_generate", "control_after_generate"),
)


def to_comfyui(
    problems: Iterable[Problem], schemas: Mapping[str, NodeDef], files: Files | None = None
) -> dict[str, Json]:
    """The whole answer. Warnings and infos are not in it; error is None when nothing is wrong."""
    errors = [problem for problem in problems if problem.severity == "error"]
    return {"error": _headline(errors), "node_errors": node_errors(errors, schemas, files)}


def node_errors(
    problems: Iterable[Problem], schemas: Mapping[str, NodeDef], files: Files | None = None
) -> dict[str, Json]:
    """Errors by node id. Errors of the prompt as a whole (unknown class, no outputs, cycle) are not among them.

    schemas, files: those that the problems were found with; an answer repeats the schema of the input at fault.
    """
    answer: dict[str, Json] = {}
    for problem in problems:
        if problem.severity != "error" or problem.node_id is None or problem.type in _WHOLE_PROMPT:
            continue
        entry = answer.setdefault(
            problem.node_id,
            {"errors": [], "dependent_outputs": list(problem.dependent_outputs), "class_type": problem.class_type},
        )
        entry["errors"].append(_node_error(problem, schemas, files))
    return answer


_WHOLE_PROMPT = frozenset({"missing_node_type", "prompt_no_outputs", "cycle"})


def _node_error(problem: Problem, schemas: Mapping[str, NodeDef], files: Files | None) -> dict[str, Json]:
    """message, details and extra_info in the server's words; of types that it does not have, in ours."""
    name, facts = problem.input_name, problem.extra_info
    schema = find_schema(schemas, problem.class_type or "")
    declared = schema.input(name) if schema is not None and name is not None else None
    message, details = _MESSAGES.get(problem.type, problem.message), str(name)
    if declared is None or problem.type not in _DETAILED | _MESSAGES.keys():
        return _error(problem.type, message, str(problem), {})
    extra: dict[str, Json] = {"input_name": name}
    if problem.type == "required_input_missing":
        return _error(problem.type, message, details, extra)
    choices = _choices(declared, files)
    config = _input_config(declared, choices)
    extra |= {"input_config": config, **{key: facts[key] for key in _FACTS if key in facts}}
    if problem.type == "return_type_mismatch":
        details = f"{name}, received_type({facts['received_type']}) mismatch input_type({config[0]})"
    elif problem.type == "invalid_input_type":
        message = f"Failed to convert an input value to a {problem.expected} value"
        details = f"{name}, {facts['received_value']}, {facts['exception_message']}"
    elif problem.type in ("value_smaller_than_min", "value_bigger_than_max"):
        word, side = ("smaller", "min") if problem.type.endswith("min") else ("bigger", "max")
        message = f"Value {facts['received_value']} {word} than {side} of {getattr(declared, side)}"
    elif problem.type == "value_not_in_list":
        is_long = len(choices) > LONG_LIST
        listed = f"(list of length {len(choices)})" if is_long else str(list(choices))
        details = f"{name}: '{facts['received_value']}' not in {listed}"
        extra["input_config"] = None if is_long else config
    elif problem.type == "custom_validation_failed":
        details, extra = f"{name} - Invalid image file: {facts['received_value']}", {"input_name": name}
    return _error(problem.type, message, details, extra)


def _choices(declared: Input, files: Files | None) -> tuple[Json, ...]:
    """A combo's fixed options, then the files of its folder: of the input folder those that lie in it directly."""
    found = (files or {}).get(declared.folder, ()) if declared.folder is not None else ()
    if declared.folder == "input":
        found = tuple(name for name in found if "/" not in name)
    return (*(declared.options or ()), *found)


def _input_config(declared: Input, choices: tuple[Json, ...]) -> list[Json]:
    """The schema of an input as an answer repeats it: [type or list of choices, options]."""
    kind: Json = list(choices) if declared.type == COMBO else declared.type
    options = {key: value for key, field in _OPTIONS if (value := getattr(declared, field)) is not None}
    options |= {key: True for key, field in _FLAGS if getattr(declared, field)}
    return [kind, options]


def _headline(errors: list[Problem]) -> dict[str, Json] | None:
    unknown = next((p for p in errors if p.type == "missing_node_type"), None)
    if unknown is not None:
        message = f"Cannot execute because node {unknown.class_type} does not exist."
        return _error("invalid_prompt", message, f"Node ID '#{unknown.node_id}'", {})
    if any(p.type == "prompt_no_outputs" for p in errors):
        return _error("prompt_no_outputs", "Prompt has no outputs", "", {})
    return _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", "", {}) if errors else None


def _error(kind: str, message: str, details: str, extra: Mapping[str, Json]) -> dict[str, Json]:
    return {"type": kind, "message": message, "details": details, "extra_info": dict(extra)}
