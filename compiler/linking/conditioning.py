"""Gives each entry of a guider the vector and the channels that its model takes, and no others.

lower() emits a make_vector for every entry with a pooled text and a make_concat for every entry that shows a picture:
it does not know the model's family. The facts of the model decide here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from graphs.operands import Operand, OperandTree, Ref
from graphs.program import ModelUse, Step

MAKERS = {"make_vector": "vector", "make_concat": "concat"}  # op -> fact of the model, and input of an entry


def with_conditions(steps: Iterable[Step], models: Mapping[str, ModelUse]) -> tuple[Step, ...]:
    """models: with their facts. What a model takes beside latent and text stays, the rest goes; an entry that shows an
    inpainting model no picture gets a make_concat of the latent alone."""
    kept: list[Step] = []
    gone: set[str] = set()
    for step in steps:
        if step.op in MAKERS and step.model is not None and models[step.model].facts[MAKERS[step.op]] is None:
            gone |= set(step.outputs)
        else:
            kept.append(_without(step, gone))
    return tuple(_with_channels(kept, models))


def _without(step: Step, gone: set[str]) -> Step:
    if gone.isdisjoint(step.refs()):
        return step
    inputs = {n: v for n, v in step.inputs.items() if not (isinstance(v, Ref) and v.name in gone)}
    return replace(step, inputs=inputs)


def _with_channels(steps: list[Step], models: Mapping[str, ModelUse]) -> list[Step]:
    latents = _latents(steps)
    wanting = {  # entry -> the guider that it is of
        operand.name: step
        for step in steps
        if step.op == "guide" and step.model is not None and models[step.model].facts["concat"] is not None
        for operand in step.operands()
        if isinstance(operand, Ref)
    }
    done: list[Step] = []
    for step in steps:
        guide = next((wanting[name] for name in step.outputs if name in wanting), None)
        if step.op == "entry" and "concat" not in step.inputs and guide is not None and guide.outputs[0] in latents:
            name = f"{step.outputs[0]}.concat"
            inputs: dict[str, OperandTree] = {"latent": latents[guide.outputs[0]]}
            done.append(
                Step(f"{step.id}.make_concat", "make_concat", inputs, {}, (name,), nodes=step.nodes, model=guide.model)
            )
            step = replace(step, inputs={**step.inputs, "concat": Ref(name)})
        done.append(step)
    return done


def _latents(steps: Iterable[Step]) -> dict[str, Operand]:
    """Guider -> the latent that is sampled with it."""
    found: dict[str, Operand] = {}
    for step in steps:
        if step.op == "sample":
            guider, latent = step.inputs["guider"], step.inputs["latent"]
            if isinstance(guider, Ref) and not isinstance(latent, tuple):
                found[guider.name] = latent
    return found
