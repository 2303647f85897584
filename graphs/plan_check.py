"""Whether a plan hangs together: everything that a damaged or hand-made plan.json can break, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from graphs.errors import PlanError
from graphs.json_form import HINT
from graphs.operands import Const, Param, Ref
from graphs.ops import OPS, OpSpec
from graphs.parameters import fits
from graphs.plan import COMPATS, Plan
from graphs.plan_operands import operand_kinds
from graphs.plan_values import model_values, needed_facts, step_values
from graphs.program import Parameter, Step

Json = Any
Found = tuple[str, str, str]  # where, expected, got

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


def check_plan(plan: Plan, constants: Collection[str], where: str) -> None:
    """constants: names of the tensors in constants.safetensors. Raises PlanError on the first thing that is amiss."""
    for place, expected, got in _problems(plan, constants):
        raise PlanError("damaged plan", where=f"{where}, {place}", expected=expected, got=got, hint=HINT)


def _problems(plan: Plan, constants: Collection[str]) -> Iterator[Found]:
    if not _DEVICE.fullmatch(plan.device):
        yield "device", "cpu or cuda", plan.device
    if plan.compat not in COMPATS:
        yield "compat", " or ".join(COMPATS), plan.compat
    for name in ("batch", "height", "width", "text"):
        low, high = getattr(plan.profile, name)
        if not 0 < low <= high:
            yield f"profile.{name}", "[smallest, largest]", f"[{low}, {high}]"
    yield from _prompt(plan.prompt)
    for parameter in plan.program.parameters.values():
        yield from _parameter(parameter)
    for model in plan.program.models.values():
        yield from ((f"model {model.id}, {inside}", expected, got) for inside, expected, got in model_values(model))
    ids: set[str] = set()
    made: dict[str, str] = {}
    produced: set[str] = set()
    for step in plan.program.steps:
        place = f"step {step.id}"
        if step.id in ids:
            yield place, "an id of its own", step.id
        ids.add(step.id)
        if step.op not in OPS:
            yield place, "an op of this version, or of an installed node pack", step.op
            continue
        spec = OPS[step.op]
        kinds = operand_kinds(step, made, plan.program.parameters)
        for expected, got in (*_shape(step, spec), *_references(step, plan, constants, produced), *kinds):
            yield place, expected, got
        values = [*step_values(step)]
        if step.model is not None and step.model in plan.program.models:
            values += needed_facts(step, plan.program.models[step.model])
        yield from ((f"{place}, {inside}", expected, got) for inside, expected, got in values)
        produced.update(step.outputs)
        if step.op in OPS.own:
            made.update(zip(step.outputs, spec.outputs, strict=False))


def _prompt(prompt: Json) -> Iterator[Found]:
    for node, entry in prompt.items():
        whole = isinstance(entry, dict) and isinstance(entry.get("class_type"), str)
        if not whole or not isinstance(entry.get("inputs", {}), dict):
            yield f"prompt.{node}", "an object with class_type and inputs", repr(entry)[:80]


def _parameter(parameter: Parameter) -> Iterator[Found]:
    if not fits(parameter.type, parameter.default):
        yield f"parameter {parameter.name}", f"a default of type {parameter.type}", repr(parameter.default)[:80]


def _shape(step: Step, spec: OpSpec) -> Iterator[tuple[str, str]]:
    """Inputs, outputs and networks against those of the op."""
    if len(step.outputs) != len(spec.outputs):
        yield f"{len(spec.outputs)} outputs", str(len(step.outputs))
    missing = [name for name in spec.inputs if name not in step.inputs]
    if missing:
        yield f"inputs {', '.join(missing)}", "none"
    unknown = [name for name in step.inputs if not spec.takes(name)]
    if unknown:
        yield "inputs of the op", ", ".join(unknown)
    yield from ((f"a network in the role {role}", "none") for role in spec.networks if role not in step.networks)
    yield from (("a role of the op", role) for role in step.networks if not spec.calls(role))


def _references(
    step: Step, plan: Plan, constants: Collection[str], produced: Collection[str]
) -> Iterator[tuple[str, str]]:
    program = plan.program
    for operand in step.operands():
        match operand:
            case Ref(name) if name not in produced:
                yield "a value of an earlier step", name
            case Param(name) if name not in program.parameters:
                yield "a parameter", name
            case Const(key) if key not in constants:
                yield "a constant", key
    yield from (("a value of its own", name) for name in step.outputs if name in produced)
    yield from (("a value that is there", name) for name in step.frees if name not in {*produced, *step.outputs})
    yield from (("an output of the step", name) for name in step.folded if name not in step.outputs)
    yield from (("a constant", key) for key in step.folded.values() if key not in constants)
    yield from (("a parameter", name) for name in step.folded_when if name not in program.parameters)
    if step.model is not None and step.model not in program.models:
        yield "a model", step.model
    for name in step.networks.values():
        if name not in program.networks:
            yield "a network", name
        if name not in plan.bindings:
            yield "an engine for the network", name
