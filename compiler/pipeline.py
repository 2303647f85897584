"""The passes in order, one tuple per phase.

What each does is in its docstring; how to add one: CONTRIBUTING.md.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from compiler.passes.dedupe import dedupe
from compiler.passes.dedupe_steps import dedupe_steps
from compiler.passes.dissolve_primitives import dissolve_primitives
from compiler.passes.dissolve_reroutes import dissolve_reroutes
from compiler.passes.driver import Context, Pass, run_graph_passes, run_program_passes
from compiler.passes.fold import fold
from compiler.passes.forward_identity import forward_identity
from compiler.passes.freeze import freeze
from compiler.passes.fuse_decode import fuse_decode
from compiler.passes.fuse_guidance import fuse_guidance
from compiler.passes.hoist import hoist
from compiler.passes.prune import prune
from compiler.passes.prune_steps import prune_steps
from compiler.passes.schedule import schedule
from compiler.passes.share_networks import share_networks
from graphs.errors import UsageError
from graphs.graph import Graph
from graphs.node import Link
from graphs.plan import PassRecord
from graphs.program import Program

GRAPH_PASSES: tuple[Pass[Graph], ...] = (
    Pass(prune, required=True),  # nodes that no output uses may be uncompilable
    Pass(dissolve_reroutes, required=True),  # reroutes have no lowering
    Pass(dissolve_primitives),
    Pass(dedupe),
)

PROGRAM_PASSES: tuple[Pass[Program], ...] = (
    Pass(freeze, required=True),  # the user asked for it
    Pass(share_networks, required=True),  # two of the same would be built and held twice
    Pass(forward_identity),
    Pass(prune_steps),
    Pass(dedupe_steps),
    Pass(fuse_decode),
    Pass(fuse_guidance),
    Pass(hoist),
    Pass(dedupe_steps),  # what hoisting made twice for two samples
    Pass(fold),
    Pass(prune_steps),  # what folding made superfluous
    Pass(schedule),
)


def optimise_graph(graph: Graph, context: Context, dump: Path | None = None) -> tuple[Graph, tuple[PassRecord, ...]]:
    """The graph after the graph passes of the level in context.options, and what each did.

    Raises: UsageError for a frozen parameter that the workflow does not have; PassError.
    """
    _check_frozen(graph, context.options.freeze)
    passes = [p for p in GRAPH_PASSES if p.required or context.options.level > 0]
    return run_graph_passes(graph, passes, context, dump)


def optimise_program(
    program: Program, context: Context, dump: Path | None = None
) -> tuple[Program, tuple[PassRecord, ...]]:
    """The program after the program passes of the level in context.options, and what each did. Raises: PassError."""
    passes = [p for p in PROGRAM_PASSES if p.required or context.options.level > 0]
    return run_program_passes(program, passes, context, dump)


def _check_frozen(graph: Graph, names: tuple[str, ...]) -> None:
    if not names:
        return
    known = {f"{node.id}.{name}" for node in graph for name, v in node.inputs.items() if not isinstance(v, Link)}
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "name it NODE.INPUT, as in 6.text"
            raise UsageError("there is no such value to freeze", where=f"--freeze {name}", hint=hint)
