"""What the compiler makes of a workflow: the fate of every node, what each pass did, the steps, and what a run costs.

Nothing is exported or built, so nothing is folded here either. Checkpoints are not needed: where they are given, steps
and figures are those of their families, else networks are roles and the figures those of Stable Diffusion 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compiler.cost import SD1, Cost, Figures, cost
from compiler.dump import step_text
from compiler.lowering.lower import lower
from compiler.lowering.plumbing import PASS_THROUGH, PRIMITIVES
from compiler.options import CompileOptions
from compiler.passes.driver import Context
from compiler.pipeline import optimise_graph, optimise_program
from graphs.definition import NodeDef
from graphs.graph import Graph
from graphs.ops import OPS
from graphs.plan import PassRecord
from graphs.program import Program, Step
from graphs.values import COMPILE_TIME_TYPES, ModelFile

Json = Any


@dataclass(frozen=True)
class Fate:
    """What becomes of a node. fate: compiled, plumbing, interpreted, unsupported, removed or dissolved."""

    node: str
    class_type: str
    fate: str
    why: str


@dataclass(frozen=True)
class Explanation:
    """before, after: the graph as read and after the graph passes. program: after the program passes."""

    before: Graph
    after: Graph
    program: Program
    fates: tuple[Fate, ...]
    passes: tuple[PassRecord, ...]
    cost: Cost


def explain(
    graph: Graph,
    schemas: Mapping[str, NodeDef],
    options: CompileOptions | None = None,
    find: Callable[[ModelFile], Path] | None = None,
) -> Explanation:
    """find: where model files are. Raises WorkflowError for nodes that cannot be lowered; with `find` also
    ModelMissingError and CheckpointError."""
    context = Context(schemas=schemas, options=options or CompileOptions())
    after, graph_records = optimise_graph(graph, context)
    program = lower(after)
    if find is not None:
        from compiler.linking.specialise import resolve  # late: it loads torch

        program = resolve(program, find)
    program, program_records = optimise_program(program, replace(context, folder=None))
    records = (*graph_records, *program_records)
    estimate = cost(program, SD1 if find is None else _figures(program, find))
    return Explanation(graph, after, program, _fates(graph, after, program, schemas, records), records, estimate)


def _figures(program: Program, find: Callable[[ModelFile], Path]) -> Figures:
    from compiler.linking.figures import NetworkFigures

    return NetworkFigures(program, find)


def _fates(
    before: Graph, after: Graph, program: Program, schemas: Mapping[str, NodeDef], records: tuple[PassRecord, ...]
) -> tuple[Fate, ...]:
    reasons = {node: reason for record in records if record.phase == "graph" for node, reason in record.changes}
    steps: dict[str, list[Step]] = {}
    for step in program.steps:
        for owner in step.nodes:
            steps.setdefault(owner, []).append(step)
    found = []
    for node in before:
        schema = schemas.get(node.class_type)
        if node.class_type in PASS_THROUGH or node.class_type in PRIMITIVES:
            fate, why = "plumbing", "only passes a value on"
        elif node.id not in after:
            fate, why = "removed", reasons.get(node.id, "a pass removed it")
        elif schema is None or schema.lower is None:
            fate, why = "unsupported", "its class is not compiled yet"
        elif node.id in steps:
            own = steps[node.id]
            networks = ", ".join(dict.fromkeys(network for step in own for network in step.networks.values()))
            fate = "compiled" if networks else "interpreted"
            why = f"runs as {own[-1].op}" + (f" on {networks}" if networks else " on the host")
        elif schema.outputs and all(o.type in COMPILE_TIME_TYPES for o in schema.outputs):
            fate, why = "compiled", "a description that the compiler resolves: no loader exists at run time"
        else:
            fate, why = "compiled", "part of other nodes' steps"
        found.append(Fate(node.id, node.class_type, fate, why))
    found += [Fate(node, class_type, "dissolved", reason) for node, class_type, reason in before.dissolved]
    return tuple(found)


def to_text(explanation: Explanation) -> str:
    """The whole report as lines of text."""
    lines = [f"nodes ({len(explanation.fates)})"]
    lines += [f"  {f.node:<6} {f.class_type:<28} {f.fate:<12} {f.why}" for f in explanation.fates]
    lines.append("\npasses")
    for record in explanation.passes:
        lines.append(f"  {record.name:<20} {record.phase:<8} {len(record.changes)} changes")
        lines += [f"      {node}: {reason}" for node, reason in record.changes]
    program = explanation.program
    lines.append(f"\nsteps ({len(program.steps)})")
    lines += [f"  {step_text(step)}" for step in program.steps]
    lines.append(f"\nnetworks: {', '.join(program.networks) or 'none'}")
    lines.append(f"parameters: {', '.join(program.parameters) or 'none'}")
    estimate = explanation.cost
    operations = ", ".join(f"{kind} {flop / 1e12:.2f}" for kind, flop in estimate.flop.items())
    lines.append(f"estimated work of a run, in 10^12 operations: {operations or 'none'}")
    peak = f"{estimate.peak_bytes / 2**20:.0f} MiB in {estimate.peak_step}"
    lines.append(f"estimated peak of values and activations: {peak}")
    return "\n".join(lines)


def to_json(explanation: Explanation) -> dict[str, Json]:
    steps = explanation.program.steps
    return {
        "nodes": [asdict(f) for f in explanation.fates],
        "passes": [asdict(r) for r in explanation.passes],
        "steps": [{"id": s.id, "op": s.op, "nodes": list(s.nodes), "pure": OPS[s.op].pure} for s in steps],
        "networks": {n.id: n.kind for n in explanation.program.networks.values()},
        "parameters": {p.name: p.default for p in explanation.program.parameters.values()},
        "estimate": asdict(explanation.cost),
    }


def to_mermaid(graph: Graph) -> str:
    """A flowchart of the graph, for pages that draw Mermaid."""
    names = {node.id: f"n{i}" for i, node in enumerate(graph)}
    lines = ["flowchart LR"]
    lines += [f"  {names[node.id]}[{json.dumps(f'{node.id} {node.class_type}')}]" for node in graph]
    for node in graph:
        for name, link in node.links.items():
            if link.node in names:
                lines.append(f"  {names[link.node]} -- {name} --> {names[node.id]}")
    return "\n".join(lines) + "\n"
