"""One network for all uses that are the same."""

from __future__ import annotations

import json
from dataclasses import replace

from compiler.dump import weights_text
from compiler.passes.driver import Change, Context, PassResult
from graphs.program import NetworkUse, Program
from graphs.values import Lora, Merge, ModelFile, Weights


def share_networks(program: Program, context: Context) -> PassResult[Program]:
    """One network for all uses that are the same.

    1. A LoRA of strength 0 changes nothing and is dropped.
    2. Networks of the same kind, weights and options become one, the first of them.
    LoRAs are neither summed nor reordered: some kinds (DoRA, GLoRA, OFT) change the weights that they find, so half of
    one twice is not the whole, and one before another is not one after it.
    """
    changes: list[Change] = []
    kept: dict[tuple[str, Weights, str], NetworkUse] = {}
    renamed: dict[str, str] = {}
    for network in program.networks.values():
        weights = without_idle_loras(network.weights)
        if weights != network.weights:
            changes.append(Change(network.id, f"weights are {weights_text(weights)}, without LoRAs of strength 0"))
            network = replace(network, weights=weights)
        key = (network.kind, weights, json.dumps(dict(network.options), sort_keys=True))
        first = kept.setdefault(key, network)
        if first is not network:
            changes.append(Change(network.id, f"the same network as {first.id}"))
            renamed[network.id] = first.id
    if not changes:
        return PassResult(program)
    networks = {network.id: network for network in kept.values()}
    steps = tuple(
        replace(step, networks={role: renamed.get(n, n) for role, n in step.networks.items()})
        if renamed.keys() & step.networks.values()
        else step
        for step in program.steps
    )
    return PassResult(replace(program, steps=steps, networks=networks), tuple(changes))


def without_idle_loras(weights: Weights) -> Weights:
    match weights:
        case ModelFile():
            return weights
        case Lora(of, file, strength):
            inner = without_idle_loras(of)
            return inner if strength == 0 else Lora(inner, file, strength)
        case Merge(a, b, shares):
            return Merge(without_idle_loras(a), without_idle_loras(b), shares)
