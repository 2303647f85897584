"""Graphs and programs as text, one node or step per line: for dumps, tests and people."""

from __future__ import annotations

import json

from graphs.graph import Graph
from graphs.node import Link
from graphs.operands import Const, Literal, Operand, OperandTree, Param
from graphs.program import NetworkUse, Program, Step
from graphs.values import Lora, Merge, ModelFile, Weights


def graph_text(graph: Graph) -> str:
    """`5 KSampler model=1[0] steps=20 ...`, in the order of execution."""
    lines = []
    for node in graph.topological():
        given = [f"{name}={_input(value)}" for name, value in node.inputs.items()]
        lines.append(" ".join([node.id, node.class_type, *given]))
    return "".join(line + "\n" for line in lines)


def program_text(program: Program) -> str:
    """Networks, parameters and steps: `5.latent = sample(latent=%4.latent, seed=$5.seed, ...) unet:unet`.

    %x is a value, $x a parameter, @x a constant; anything else is JSON.
    """
    lines = [f"network {network_text(network)}" for network in program.networks.values()]
    lines += [f"parameter {p.name}: {p.type} = {json.dumps(p.default)}" for p in program.parameters.values()]
    lines += [step_text(step) for step in program.steps]
    return "".join(line + "\n" for line in lines)


def step_text(step: Step) -> str:
    inputs = ", ".join(f"{name}={_tree(value)}" for name, value in step.inputs.items())
    text = f"{', '.join(step.outputs)} = {step.op}({inputs})" if step.outputs else f"{step.op}({inputs})"
    text += "".join(f" {role}:{network}" for role, network in step.networks.items())
    if step.attrs:
        text += " " + json.dumps(dict(step.attrs), sort_keys=True)
    if step.folded:
        text += f" folded({', '.join(step.folded.values())})"
        text += f" while {', '.join(step.folded_when)} default" if step.folded_when else ""
    return text + (f" frees({', '.join(step.frees)})" if step.frees else "")


def network_text(network: NetworkUse) -> str:
    options = {key: value for key, value in network.options.items() if value is not None}
    text = f"{network.id}: {network.kind} of {weights_text(network.weights)}"
    return f"{text} {json.dumps(options, sort_keys=True)}" if options else text


def weights_text(weights: Weights) -> str:
    """`sd15.safetensors + 0.8 x style.safetensors`; a merge of two as `(0.3 x A + 0.7 x B)`, its shares by prefix."""
    match weights:
        case ModelFile():
            return weights.name
        case Lora(of, file, strength):
            return f"{weights_text(of)} + {strength:g} x {file.name}"
        case Merge(a, b, shares):
            first, second = (_in_parentheses(side) for side in (a, b))
            rows = [f"{prefix}{': ' if prefix else ''}{x:g} x {first} + {y:g} x {second}" for prefix, x, y in shares]
            return f"({', '.join(rows)})"


def _in_parentheses(weights: Weights) -> str:
    text = weights_text(weights)
    return f"({text})" if isinstance(weights, Lora) else text


def _input(value: object) -> str:
    return f"{value.node}[{value.slot}]" if isinstance(value, Link) else json.dumps(value)


def _tree(value: OperandTree) -> str:
    return f"({', '.join(_operand(o) for o in value)})" if isinstance(value, tuple) else _operand(value)


def _operand(operand: Operand) -> str:
    if isinstance(operand, Literal):
        return json.dumps(operand.value)
    if isinstance(operand, Param):
        return f"${operand.name}"
    return f"@{operand.key}" if isinstance(operand, Const) else f"%{operand.name}"
