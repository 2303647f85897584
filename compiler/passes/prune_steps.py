"""Drop steps, networks, models and parameters that nothing needs."""

from __future__ import annotations

from dataclasses import replace

from compiler.passes.driver import Change, Context, PassResult
from compiler.passes.rewrite import restructured
from graphs.program import Program


def prune_steps(program: Program, context: Context) -> PassResult[Program]:
    """Drop steps, networks, models and parameters that nothing needs.

    1. A pure step is removed when no step that stays uses any of its outputs.
    2. A network that no step calls is removed, and a model that no step names.
    3. A parameter that no step takes is removed: setting it would do nothing.
    """
    needed: set[str] = set()
    kept = []
    changes = []
    for step in reversed(program.steps):
        if context.ops[step.op].pure and needed.isdisjoint(step.outputs):
            changes.append(Change(step.id, "no step uses what it makes"))
            continue
        needed.update(step.refs())
        kept.append(step)
    changes.reverse()
    kept.reverse()
    called = {network for step in kept for network in step.networks.values()}
    named = {step.model for step in kept}
    taken = {name for step in kept for name in (*step.params(), *step.folded_when)}
    changes += [Change(n, "no step calls this network") for n in program.networks if n not in called]
    changes += [Change(m, "no step needs this model") for m in program.models if m not in named]
    changes += [Change(p, "no step takes this parameter") for p in program.parameters if p not in taken]
    if not changes:
        return PassResult(program)
    networks = {name: network for name, network in program.networks.items() if name in called}
    models = {name: model for name, model in program.models.items() if name in named}
    parameters = {name: parameter for name, parameter in program.parameters.items() if name in taken}
    pruned = program if len(kept) == len(program.steps) else restructured(program, kept)
    return PassResult(replace(pruned, parameters=parameters, networks=networks, models=models), tuple(changes))
