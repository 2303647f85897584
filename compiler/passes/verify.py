"""The invariants of graphs and programs, checked before the first pass and after every pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphs.definition import NodeDef
from graphs.graph import Graph
from graphs.operands import Param, Ref
from graphs.ops import OpSpec
from graphs.program import Program, Step

Broken = str  # what does not hold, for people


def verify_graph_step(before: Graph, after: Graph, schemas: Mapping[str, NodeDef]) -> Iterator[Broken]:
    """A pass may remove nodes and change links. It may not make up nodes, lose an output node, or leave a link to a
    node that is gone. That a graph is acyclic and its ids are unique, its construction has seen to."""
    if after is before:
        return
    was, now = before.nodes, after.nodes
    removed = was.keys() - now.keys()
    for node_id, node in now.items():
        if node_id not in was:
            yield f"node {node_id} was made up"
        for name, link in node.links.items():
            if link.node in removed:
                yield f"node {node_id}, input '{name}' links to node {link.node}, which was removed"
    outputs = {c for c in {was[i].class_type for i in removed} if (s := schemas.get(c)) is not None and s.output_node}
    for node_id in removed:
        if was[node_id].class_type in outputs:
            yield f"output node {node_id} was removed"


def verify_program(program: Program, ops: Mapping[str, OpSpec]) -> Iterator[Broken]:
    """Unique names, values made before they are used and not after they are freed, networks called before they are
    released, steps that fit their op, parameters and networks that exist."""
    yield from _names(program)
    released: set[str] = set()
    defined: set[str] = set()
    freed: set[str] = set()
    for step in program.steps:
        spec = ops.get(step.op)
        if spec is None:
            yield f"step {step.id}: there is no op '{step.op}'"
            continue
        yield from _signature(step, spec)
        yield from _operands(step, program, defined, freed)
        defined.update(step.outputs)
        for name in step.frees:
            if name not in defined or name in freed:
                yield f"step {step.id} frees '{name}', which is {'freed already' if name in freed else 'not there'}"
            freed.add(name)
        for name in released.intersection(step.networks.values()):
            yield f"step {step.id} calls network '{name}' after it is released"
        released.update(step.releases)


def verify_program_step(before: Program, after: Program, ops: Mapping[str, OpSpec]) -> Iterator[Broken]:
    """A pass may not add, lose or reorder effects (files read and written), nor make up parameters."""
    if after is before:
        return
    yield from verify_program(after, ops)
    was, now = _effects(before, ops), _effects(after, ops)
    if was != now:
        yield f"the steps with effects were {', '.join(was) or 'none'}, now they are {', '.join(now) or 'none'}"
    for name in after.parameters:
        if after.parameters[name] != before.parameters.get(name):
            yield f"parameter '{name}' was made up or changed"


def _effects(program: Program, ops: Mapping[str, OpSpec]) -> list[str]:
    return [step.id for step in program.steps if step.op in ops and not ops[step.op].pure]


def _names(program: Program) -> Iterator[Broken]:
    ids: set[str] = set()
    outputs: set[str] = set()
    for step in program.steps:
        if step.id in ids:
            yield f"two steps have the id '{step.id}'"
        ids.add(step.id)
        for name in step.outputs:
            if name in outputs:
                yield f"step {step.id} makes '{name}', which another step makes too"
            outputs.add(name)
    for key, parameter in program.parameters.items():
        if key != parameter.name:
            yield f"parameter '{parameter.name}' is filed under '{key}'"
    for key, network in program.networks.items():
        if key != network.id:
            yield f"network '{network.id}' is filed under '{key}'"


def _signature(step: Step, spec: OpSpec) -> Iterator[Broken]:
    if len(step.outputs) != len(spec.outputs):
        yield f"step {step.id} has {len(step.outputs)} outputs, its op {spec.name} has {len(spec.outputs)}"
    for name in spec.inputs:
        if name not in step.inputs:
            yield f"step {step.id}: input '{name}' of op {spec.name} is missing"
    for name in step.inputs:
        if not spec.takes(name):
            yield f"step {step.id}: op {spec.name} has no input '{name}'"
    for role in spec.networks:
        if role not in step.networks:
            yield f"step {step.id}: network '{role}' of op {spec.name} is missing"
    for role in step.networks:
        if not spec.calls(role):
            yield f"step {step.id}: op {spec.name} calls no network '{role}'"
    for name in step.folded:
        if name not in step.outputs:
            yield f"step {step.id} folds '{name}', which is not its output"


def _operands(step: Step, program: Program, defined: set[str], freed: set[str]) -> Iterator[Broken]:
    for operand in step.operands():
        if isinstance(operand, Ref):
            if operand.name in freed:
                yield f"step {step.id} uses '{operand.name}' after it is freed"
            elif operand.name not in defined:
                yield f"step {step.id} uses '{operand.name}' before a step makes it"
        elif isinstance(operand, Param) and operand.name not in program.parameters:
            yield f"step {step.id} takes the parameter '{operand.name}', which is not declared"
    for name in step.folded_when:
        if name not in program.parameters:
            yield f"step {step.id} is folded for the parameter '{name}', which is not declared"
    if step.model is not None and step.model not in program.models:
        yield f"step {step.id}: there is no model '{step.model}'"
    for role, network in step.networks.items():
        if network not in program.networks:
            yield f"step {step.id}, role '{role}': there is no network '{network}'"
