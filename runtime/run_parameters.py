"""The parameters of one run: the plan's defaults, and what the caller set, checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from graphs.errors import UsageError
from graphs.operands import Param
from graphs.parameters import checked
from graphs.plan import Plan
from runtime.limits import check_pixels

Json = Any


def resolve(plan: Plan, given: Mapping[str, Json]) -> dict[str, Json]:
    """Every parameter's value for a run. given: by name, "NODE.INPUT", as text or JSON values.

    Raises UsageError listing all that is wrong: unknown names, wrong types, values out of range, sizes that the
    plan was not compiled for.
    """
    values = {name: p.default for name, p in plan.program.parameters.items()}
    problems = []
    for name, value in given.items():
        parameter = plan.program.parameters.get(name)
        if parameter is None:
            problems.append(_unknown(plan, name))
            continue
        try:
            values[name] = checked(parameter, value)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if not problems:
        problems.extend(_sizes(plan, values))
    if problems:
        raise UsageError("; ".join(problems))
    return values


def changed(plan: Plan, values: Mapping[str, Json]) -> dict[str, Json]:
    """The parameters whose value is not their default."""
    defaults = {name: p.default for name, p in plan.program.parameters.items()}
    return {name: v for name, v in values.items() if v != defaults[name]}


def _unknown(plan: Plan, name: str) -> str:
    names = list(plan.program.parameters)
    for node, entry in plan.prompt.items():
        inputs = entry.get("inputs", {}) if isinstance(entry, dict) else {}
        for input_name, value in inputs.items():
            if name == f"{node}.{input_name}":
                if isinstance(value, list):
                    return f"{name}: a link, its value comes from node {value[0] if value else '?'}"
                return f"{name}: fixed in this plan; change it in the workflow and compile again"
    last = name.rsplit(".", 1)[-1]
    close = [n for n in names if n.endswith(f".{last}")] or difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {' or '.join(close[:3])}?" if close else f"the plan has {', '.join(names) or 'none'}"
    return f"{name}: no such parameter, {hint}"


def _sizes(plan: Plan, values: Mapping[str, Json]) -> list[str]:
    """Sizes of empty latents that lie outside the plan's profile: found before anything runs."""
    problems = []
    for step in plan.program.steps:
        if step.op != "empty_latent":
            continue
        for dimension, input_name in (("batch", "batch_size"), ("height", "height"), ("width", "width")):
            operand = step.inputs[input_name]
            if isinstance(operand, Param):
                problem = check_pixels(plan.profile, dimension, values[operand.name])
                if problem is not None:
                    problems.append(f"{operand.name}: {problem}")
    return problems
