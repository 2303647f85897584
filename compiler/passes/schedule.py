"""Order the steps for the smallest peak of memory, and free values and release networks after their last use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from compiler.cost import value_sizes
from compiler.passes.driver import Change, Context, PassResult
from compiler.passes.order import Order
from graphs.ops import OpSpec
from graphs.program import Program, Step


def schedule(program: Program, context: Context) -> PassResult[Program]:
    """Order the steps for the smallest peak of memory, and free values and release networks after their last use.

    1. Steps with effects keep their order among each other; producers come before consumers.
    2. Within that, the order with the smallest peak of memory is taken if it is smaller than the present one's: the
    best of all orders for small programs (order.EXACT_STATES), else the better of two greedy ones.
    3. A value is freed after the last step that uses it, at once when none does. Results stay: what a step with effects
    makes and nothing uses.
    4. A network is released after the last step that calls it, so that the pool of engines may give its memory away.
    Networks of a guider, and of what it is made of, are called by the steps that take it.
    Memory is counted in values, by Context.sizes; the activations inside a step are not the order's to change.
    """
    sizes = dict((context.sizes or value_sizes)(program))
    results = _results(program, context.ops)
    problem = _problem(program, context.ops, sizes, results)
    present = list(range(len(program.steps)))
    before = problem.peak(present)
    order = present
    if before > problem.least():
        order = min((problem.best(), present), key=problem.peak)
    after = problem.peak(order)
    changes = []
    if after < before:
        moved = [program.steps[i].id for place, i in enumerate(order) if place != i]
        changes.append(Change(moved[0], f"{len(moved)} steps moved: peak of values {before:,} -> {after:,} bytes"))
    else:
        order = present
    steps = _with_releases(_with_frees([program.steps[i] for i in order], results), context.ops)
    freeing = sum(1 for new, i in zip(steps, order, strict=True) if new.frees != program.steps[i].frees)
    if freeing:
        unfreed = sum(sizes[name] for step in steps for name in step.outputs)
        reason = f"values freed after their last use: peak {after:,} of {unfreed:,} bytes"
        changes.append(Change(steps[-1].id, reason))
    for new, i in zip(steps, order, strict=True):
        if new.releases != program.steps[i].releases:
            changes.append(Change(new.id, f"last call of {', '.join(new.releases) or 'no network'}"))
    return PassResult(program.with_steps(steps), tuple(changes)) if changes else PassResult(program)


def peak_bytes(program: Program, context: Context) -> int:
    """The most bytes that values take at once, in the present order, freed as early as can be."""
    sizes = (context.sizes or value_sizes)(program)
    problem = _problem(program, context.ops, sizes, _results(program, context.ops))
    return problem.peak(range(len(program.steps)))


def _results(program: Program, ops: Mapping[str, OpSpec]) -> frozenset[str]:
    """Outputs that the run hands back: those of steps with effects of which nothing is used."""
    used = {name for step in program.steps for name in step.refs()}
    results: set[str] = set()
    for step in program.steps:
        if not ops[step.op].pure and used.isdisjoint(step.outputs):
            results.update(step.outputs)
    return frozenset(results)


def _with_frees(steps: Sequence[Step], results: frozenset[str]) -> tuple[Step, ...]:
    last: dict[str, int] = {}
    for place, step in enumerate(steps):
        last.update(dict.fromkeys((*step.outputs, *step.refs()), place))
    frees: dict[int, list[str]] = {}
    for name, place in last.items():
        if name not in results:
            frees.setdefault(place, []).append(name)
    new = (tuple(frees.get(place, ())) for place in range(len(steps)))
    return tuple(step if step.frees == f else replace(step, frees=f) for step, f in zip(steps, new, strict=True))


def _with_releases(steps: Sequence[Step], ops: Mapping[str, OpSpec]) -> tuple[Step, ...]:
    last: dict[str, int] = {}
    carried: dict[str, set[str]] = {}  # value -> networks that whoever takes it may call
    for place, step in enumerate(steps):
        called = set(step.networks.values()).union(*(carried.get(name, ()) for name in step.refs()))
        last.update(dict.fromkeys(called, place))
        if ops[step.op].carries:
            carried.update(dict.fromkeys(step.outputs, called))
    releases: dict[int, list[str]] = {}
    for network, place in last.items():
        releases.setdefault(place, []).append(network)
    new = (tuple(sorted(releases.get(place, ()))) for place in range(len(steps)))
    return tuple(step if step.releases == r else replace(step, releases=r) for step, r in zip(steps, new, strict=True))


def _problem(program: Program, ops: Mapping[str, OpSpec], sizes: Mapping[str, int], results: frozenset[str]) -> Order:
    maker = {name: i for i, step in enumerate(program.steps) for name in step.outputs}
    users: dict[str, list[int]] = {name: [] for name in maker}
    effects = [i for i, step in enumerate(program.steps) if not ops[step.op].pure]
    after = list(pairwise(effects))
    for i, step in enumerate(program.steps):
        for name in dict.fromkeys(step.refs()):
            users[name].append(i)
    values = [(sizes[name], i, tuple(users[name])) for name, i in maker.items() if name not in results]
    kept = [(sizes[name], maker[name]) for name in results]
    return Order(tuple(step.id for step in program.steps), values, kept, after)
