"""One recipe per network instead of a chain of LoRAs, and one network per recipe."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from compiler.dump import recipe_text
from compiler.passes.driver import Change, Context, PassResult
from graphs.program import NetworkUse, Program
from graphs.values import LoraUse, ModelFile, WeightRecipe


def fuse_loras(program: Program, context: Context) -> PassResult[Program]:
    """One recipe per network instead of a chain of LoRAs, and one network per recipe.

    1. A chain of recipes becomes one recipe: the base file and all LoRAs in the order of the chain.
    2. A file that occurs more than once is merged once, where it came first, with the sum of the strengths. A LoRA
    enters the weights linearly, so the weights are equal up to the rounding of float32 (bound: 1e-6 relative).
    3. A LoRA of strength 0 changes nothing and is dropped.
    4. Networks of the same kind, recipe and options become one, the first of them.
    """
    changes: list[Change] = []
    kept: dict[tuple[str, WeightRecipe, str], NetworkUse] = {}
    renamed: dict[str, str] = {}
    for network in program.networks.values():
        weights = flat_recipe(network.weights)
        if weights != network.weights:
            changes.append(Change(network.id, f"weights are {recipe_text(weights)} in one merge"))
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


def flat_recipe(recipe: WeightRecipe) -> WeightRecipe:
    """A recipe whose base is a file and whose LoRAs are of different files, none of strength 0."""
    chain: list[tuple[LoraUse, ...]] = []
    base: ModelFile | WeightRecipe = recipe
    while isinstance(base, WeightRecipe):
        chain.append(base.loras)
        base = base.base
    strengths: dict[ModelFile, list[float]] = {}
    for use in (use for loras in reversed(chain) for use in loras):
        strengths.setdefault(use.file, []).append(use.strength)
    sums = {file: parts[0] if len(parts) == 1 else math.fsum(parts) for file, parts in strengths.items()}
    flat = WeightRecipe(base, tuple(LoraUse(file, strength) for file, strength in sums.items() if strength != 0))
    return recipe if flat == recipe else flat
