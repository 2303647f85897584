"""The whole way from a workflow to a plan, in one short function."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.checking.check import Checked, check
from compiler.checking.files import is_missing_model, missing_models_error
from compiler.linking.constants import ConstantFolder
from compiler.linking.known import Known
from compiler.linking.link import Counts, Linker, Target
from compiler.linking.own_sizes import widened
from compiler.linking.specialise import resolve
from compiler.lowering.lower import lower
from compiler.options import CompileOptions
from compiler.passes.driver import Context
from compiler.pipeline import optimise_graph, optimise_program
from graphs.errors import DeviceError, Problem, WorkflowError
from graphs.graph import Graph
from graphs.operands import Literal
from graphs.plan import Plan, Profile
from graphs.plan_json import save_plan
from graphs.program import Program
from graphs.schemas import Schemas, builtin
from graphs.values import ModelFile
from graphs.workflow import to_api
from runtime.artifacts import StoreArtifacts
from runtime.backends import backend, pick
from runtime.engines import Engines
from runtime.plan_seal import seal
from runtime.text.embeddings import mentioned

if TYPE_CHECKING:
    import torch

    from runtime.backends.backend import Progress
    from runtime.folders import Folders
    from runtime.store import Store

log = logging.getLogger(__name__)

# Where nothing was asked for: what gives ComfyUI's picture on a CPU, and what tensor cores are for.
PRECISION_OF = {"tensorrt": "fp16", "inductor": "fp16"}
# Parts that need a wider range than float16 where nothing was asked for: the VAE of SDXL exceeds it.
PART_PRECISION_OF = {"inductor": {"vae": "bf16"}}
CUDA_BACKENDS = frozenset({"tensorrt", "inductor"})
FOLDING_BACKEND = "onnxruntime"  # computes constants where the chosen backend cannot run


@dataclass(frozen=True)
class CompileResult:
    """constants: the tensors of constants.safetensors. counts: what was exported, built and written, not found."""

    plan: Plan
    constants: Mapping[str, torch.Tensor]
    counts: Counts
    why_backend: str
    warnings: tuple[Problem, ...] = ()


def compile_workflow(
    graph: Graph,
    options: CompileOptions,
    *,
    folders: Folders,
    store: Store,
    schemas: Schemas | None = None,
    progress: Progress | None = None,
    dump: Path | None = None,
    engines: Engines | None = None,
    known: Known | None = None,
) -> CompileResult:
    """Check, optimise, lower, optimise, link. Raises WorkflowError with every problem, and what the stages raise.

    dump: a folder for a text of the graph, then of the program, after each pass. engines: the pool that computes
    constants; one for this call alone when None. known: what earlier calls have linked, for one prompt after the other.
    """
    schemas = schemas if schemas is not None else builtin()
    target, why = target_of(options)
    folding = folding_target(target)
    if folding is not target:
        why = f"{why}; {folding.backend.name} computes the constants, since {target.backend.name} does not run here"
    found = checked(graph, schemas, folders, strict=options.strict)
    prompt, graph = to_api(found.graph), found.runnable
    context = Context(schemas=schemas, options=options)
    graph, graph_records = optimise_graph(graph, context, dump)

    @functools.cache
    def find(file: ModelFile) -> Path:
        return folders.find(file.kind, file.name)

    program = resolve(lower(graph), find)
    profile = widened(options.profile, program, options.fixed_sides)
    target, folding = _for_profile(target, folding, profile)
    linker = Linker(target, store, find, progress, known=known)
    folding_linker = linker if folding is target else Linker(folding, store, find, progress, linker.counts, known)
    embeddings = folders.embeddings()
    with _pool(engines, store, folding.device) as pool:
        folder = ConstantFolder(folding_linker, pool, options.compat, embeddings)
        context = replace(context, folder=folder if options.fold else None)
        program, program_records = optimise_program(program, context, dump)
    plan = Plan(
        program=program,
        bindings={name: linker.bind(use) for name, use in program.networks.items()},
        profile=profile,
        backend=target.backend.name,
        device=target.device,
        compat=options.compat,
        prompt=prompt,
        workflow=graph.workflow,
        embeddings=mentioned(_texts(program), embeddings),
        passes=(*graph_records, *program_records),
        comfyc_version=_version(),
    )
    return CompileResult(plan, folder.tensors, linker.counts, why, found.problems)


def _for_profile(target: Target, folding: Target, profile: Profile) -> tuple[Target, Target]:
    """Both for the sizes of a profile; one and the same where they were."""
    chosen = replace(target, profile=profile)
    return chosen, chosen if folding is target else replace(folding, profile=profile)


@contextlib.contextmanager
def _pool(engines: Engines | None, store: Store, device: str) -> Iterator[Engines]:
    """The pool that is given, else one that is closed at the end."""
    if engines is not None:
        yield engines
        return
    own = Engines(StoreArtifacts(store), device=device)
    try:
        yield own
    finally:
        own.close()


def target_of(options: CompileOptions) -> tuple[Target, str]:
    """What to compile for, and why, for people. Raises UsageError, DeviceError."""
    chosen, why = pick(options.backend, options.device, targets=options.targets)
    precision = options.precision if options.precision != "auto" else PRECISION_OF.get(chosen.name, "fp32")
    parts = PART_PRECISION_OF.get(chosen.name, {}) if options.precision == "auto" else {}
    device = "cuda" if chosen.name in CUDA_BACKENDS or options.device == "cuda" else "cpu"
    if options.device == "cpu" and device == "cuda" and chosen.name != "tensorrt":
        raise DeviceError(f"{chosen.name} engines run on NVIDIA GPUs", expected="--device cuda", got="cpu")
    target = Target(chosen, precision, device, options.profile, options.targets, parts)
    target.check()
    return target, why


def folding_target(target: Target) -> Target:
    """What computes constants: the target itself where it can run, else the CPU in float32.

    A text embedding in float32 is at least as good as the one that the engine would give, and a frozen prompt drops the
    text encoder from a plan no matter where it is compiled.
    """
    if target.backend.available().can_run:
        return target
    return Target(backend(FOLDING_BACKEND), "fp32", "cpu", target.profile)


def checked(graph: Graph, schemas: Schemas, folders: Folders, *, strict: bool = False) -> Checked:
    """The graph with its values converted, and the warnings; without the outputs that cannot run, where others can.

    Raises WorkflowError; ModelMissingError where only model files are missing.
    """
    models = replace(folders, input_dir=None).files  # pictures are parameters of a run, and need not be here
    found = check(graph, schemas, models, strict=strict)
    problems = (*graph.warnings, *found.problems)
    errors = tuple(p for p in problems if p.severity == "error")
    if errors and all(is_missing_model(p) for p in errors):
        raise missing_models_error(errors)
    if errors:
        raise WorkflowError(f"the workflow has {len(errors)} problem{'s' if len(errors) > 1 else ''}", errors)
    return replace(found, problems=problems)


def write(result: CompileResult, directory: Path, root: Path | None = None) -> None:
    """Writes the plan folder: whole, or not at all. root: of the store whose key seals it; None leaves it without a
    seal. Raises PlanError, StoreError."""
    from safetensors.torch import save

    constants = save(dict(result.constants)) if result.constants else None
    save_plan(result.plan, constants, directory, None if root is None else functools.partial(seal, root=root))


def _texts(program: Program) -> list[str]:
    """Whatever may be a prompt: texts that parameters have by default, and those that are fixed."""
    values = [parameter.default for parameter in program.parameters.values()]
    values += [o.value for step in program.steps for o in step.operands() if isinstance(o, Literal)]
    return [value for value in values if isinstance(value, str)]


@functools.cache
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("comfyc")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
