"""Whether a plan hangs together: what a damaged or hand-edited plan.json can break."""

from __future__ import annotations

from collections.abc import Collection

from graphs.errors import PlanError
from graphs.json_reading import HINT
from graphs.operands import Const, Param, Ref
from graphs.ops import OPS
from graphs.plan import Plan
from graphs.program import Step


def check_plan(plan: Plan, constants: Collection[str], where: str) -> None:
    """constants: names of the tensors in constants.safetensors. Raises PlanError on the first thing that is amiss."""
    produced: set[str] = set()
    for step in plan.program.steps:
        for expected, got in _problems(step, plan, constants, produced):
            raise PlanError("damaged plan", where=f"{where}, step {step.id}", expected=expected, got=got, hint=HINT)
        produced.update(step.outputs)


def _problems(step: Step, plan: Plan, constants: Collection[str], produced: set[str]) -> list[tuple[str, str]]:
    """(expected, got) of everything wrong with one step."""
    if step.op not in OPS:
        return [("an op of this version", step.op)]
    spec, found = OPS[step.op], []
    if len(step.outputs) != len(spec.outputs):
        found.append((f"{len(spec.outputs)} outputs", str(len(step.outputs))))
    missing = [name for name in spec.inputs if name not in step.inputs]
    if missing:
        found.append((f"inputs {', '.join(missing)}", "none"))
    found.extend((f"a network in the role {role}", "none") for role in spec.networks if role not in step.networks)
    for operand in step.operands():
        match operand:
            case Ref(name) if name not in produced:
                found.append(("a value of an earlier step", name))
            case Param(name) if name not in plan.program.parameters:
                found.append(("a parameter", name))
            case Const(key) if key not in constants:
                found.append(("a constant", key))
    found.extend(("a constant", key) for key in step.folded.values() if key not in constants)
    found.extend(("a parameter", name) for name in step.folded_when if name not in plan.program.parameters)
    if step.model is not None and step.model not in plan.program.models:
        found.append(("a model", step.model))
    found.extend(("a network", name) for name in step.networks.values() if name not in plan.program.networks)
    found.extend(("an engine for the network", name) for name in step.networks.values() if name not in plan.bindings)
    return found
