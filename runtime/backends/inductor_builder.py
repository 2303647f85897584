"""Compiles a torch.export program with Inductor and packs what came out: source, machine code, launch grids.

    program + sizes -> traced again on the GPU's side, every size a number -> Inductor -> one run, which tunes kernels
        -> kernel_pack: the source without its header, the chosen kernel of each name, weights as arguments

Why not Inductor's own artefacts: docs/adr/0050-inductor-engines.md. Needs a GPU, Triton and a C compiler.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import filelock
import torch
from torch import fx
from torch.export import ExportedProgram

from graphs.errors import BuildError
from runtime.backends.backend import TensorSpec
from runtime.backends.inductor_lowering import empty, input_buffers, lowered, weight_buffers
from runtime.backends.kernel_pack import (
    EXTERN_NAMES,
    SCOPE_NAMES,
    Blobs,
    BucketProgram,
    Buffer,
    Kernel,
    Weights,
)

_OPTIONS: Mapping[str, object] = {
    "graph_partition": False,  # one function for the whole network
    "fx_graph_cache": False,  # the store is the cache
    "static_launch_user_defined_triton_kernels": True,
    "strict_static_cuda_launcher": True,  # a kernel that cannot be packed is an error, here
    "assume_aligned_inputs": True,
    "max_autotune_conv_backends": "ATEN",
}


def compile_bucket(
    program: ExportedProgram,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    sizes: Mapping[str, int],
    weights: Weights,
    blobs: Blobs,
    options: Mapping[str, object] | None = None,
) -> BucketProgram:
    """One program of a pack. sizes: of every dynamic dimension. Raises BuildError."""
    given = input_buffers(inputs, sizes)
    wanted = weight_buffers(program, given)
    try:
        module, source = _compiled(program, [*wanted, *given], dict(options or {}))
    except (RuntimeError, torch._inductor.exc.InductorError) as error:
        raise BuildError(f"inductor cannot compile the network: {error}") from error
    kernels = {n: k for n, k in vars(module).items() if _is_kernel(k)}
    constants = {n: t for n, t in vars(module).items() if isinstance(t, torch.Tensor)}
    source = program_source(source, frozenset(kernels) | frozenset(constants))
    return BucketProgram(
        sizes=dict(sizes),
        source=blobs.add(source.encode()),
        kernels=tuple(_kernel(name, kernel, blobs) for name, kernel in kernels.items()),
        weights=tuple(weights.add(b) for b in wanted),
        inputs=given,
        outputs=tuple(s.name for s in outputs),
        constants={n: (_buffer_of(n, t), blobs.add(_bytes_of(t))) for n, t in constants.items()},
    )


def _compiled(
    program: ExportedProgram, buffers: Sequence[Buffer], options: dict[str, object]
) -> tuple[ModuleType, str]:
    """The module that Inductor wrote, its kernels tuned by one run on random data, and its source."""
    # read by Inductor's compile workers when they start; its config alone does not reach them
    os.environ["TORCHINDUCTOR_STATIC_LAUNCH_USER_DEFINED_TRITON_KERNELS"] = "1"
    from torch._inductor import config

    modules: list[ModuleType] = []
    with config.patch({**_OPTIONS, **options}), _launchers_remembered(), _modules_into(modules), torch.no_grad():
        graph, fakes, mode = lowered(program, buffers)
        function = _inductor(graph, fakes, mode)
        if len(modules) != 1:
            raise BuildError(f"inductor wrote {len(modules)} modules in place of one")
        with _tuning_alone():
            function([_random(b) for b in buffers])
            torch.cuda.synchronize()
    return modules[0], _read(modules[0])


def _inductor(graph: fx.GraphModule, fakes: list[Any], mode: Any) -> Callable[[list[torch.Tensor]], Any]:
    import torch._inductor.config
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx_forward, create_compiler_config_extra
    from torch._inductor.virtualized import V

    results = graph.graph.find_nodes(op="output")[0]
    if not isinstance(results.args[0], list | tuple):
        results.args = ((results.args[0],),)
        graph.recompile()
    config: Any = torch._inductor.config
    with V.set_fake_mode(mode), tracing(TracingContext(mode)):
        compiled: Any = compile_fx_forward(
            graph, fakes, len(results.args[0]), len(fakes), create_compiler_config_extra(config), is_inference=True
        )
    return compiled  # type: ignore[no-any-return]


def _tuning_alone() -> filelock.BaseFileLock:
    """One process of this user at a time measures kernels: two at once would measure each other."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    return filelock.FileLock(os.path.join(cache_dir(), "comfyc-tuning.lock"))


def _random(buffer: Buffer) -> torch.Tensor:
    """Kernels are tuned on numbers as a network has them: on zeros they run faster."""
    tensor = empty(buffer)
    return tensor.normal_(std=0.02) if tensor.is_floating_point() else tensor.random_(0, 2)


@contextlib.contextmanager
def _launchers_remembered() -> Iterator[None]:
    """Every launcher made within remembers what it launches: a compile result, with its machine code."""
    from torch._inductor.runtime import triton_heuristics

    kind: Any = triton_heuristics.StaticTritonCompileResult
    original = kind.make_launcher

    def make_launcher(result: Any) -> Any:
        if not hasattr(result, "image"):
            result.image = result.kernel.cubin_raw  # gone once it is loaded
        launcher: Any = original(result)
        launcher.packed = result
        return launcher

    kind.make_launcher = make_launcher
    try:
        yield
    finally:
        kind.make_launcher = original


@contextlib.contextmanager
def _modules_into(modules: list[ModuleType]) -> Iterator[None]:
    """Collects the modules that Inductor writes."""
    from torch._inductor import graph as inductor_graph

    kind: Any = inductor_graph.GraphLowering
    original = kind.compile_to_module

    def compile_to_module(graph: Any) -> Any:
        modules.append(original(graph))
        return modules[-1]

    kind.compile_to_module = compile_to_module
    try:
        yield
    finally:
        kind.compile_to_module = original


def _is_kernel(value: object) -> bool:
    from torch._inductor.runtime.triton_heuristics import CachingAutotuner

    return isinstance(value, CachingAutotuner)


def _kernel(name: str, tuner: Any, blobs: Blobs) -> Kernel:
    """The configuration that tuning chose."""
    from torch._inductor.runtime.triton_heuristics import GridExpr

    if len(tuner.launchers) != 1:
        raise BuildError(f"kernel {name} never ran: none of its {len(tuner.launchers)} forms is chosen")
    result = getattr(tuner.launchers[0], "packed", None)
    if result is None:
        raise BuildError(f"kernel {name} cannot be taken out of Inductor", hint="compile in a process of its own")
    kernel = result.kernel
    _, arguments, none = result._get_arg_lists(kernel.arg_names, kernel.declared_constexprs)
    passed = [a for i, a in enumerate(kernel.arg_names) if i not in kernel.full_constexprs and a not in none]
    scratch = int(kernel.has_global_scratch) + int(kernel.has_profile_scratch)
    grid = GridExpr.from_meta(result.inductor_meta, result.config)
    return Kernel(
        name=name,
        symbol=kernel.name,
        image=blobs.add(result.image),
        warps=kernel.num_warps,
        shared_bytes=kernel.shared,
        arguments=tuple(arguments),
        passed=(*passed, *[""] * scratch),
        types=kernel.arg_tys + "O" * scratch,
        prefix=tuple(grid.prefix),
        grid=(str(grid.x_grid), str(grid.y_grid), str(grid.z_grid)),
    )


def _read(module: ModuleType) -> str:
    with open(str(module.__file__), encoding="utf-8") as file:
        return file.read()


def program_source(text: str, provided: frozenset[str]) -> str:
    """Inductor's module without its imports, kernels and benchmark: the class or function that runs the network.

    provided: names of kernels and constants. Raises BuildError for a name that a loaded pack would not have.
    """
    kept: list[ast.stmt] = []
    for statement in ast.parse(text).body:
        is_call = isinstance(statement, ast.FunctionDef) and statement.name == "call"
        names_it = isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in ("runner", "call")
        if is_call or names_it or isinstance(statement, ast.ClassDef):
            kept.append(statement)
    tree = ast.Module(kept, [])
    _refuse_unknown(tree, provided)
    return ast.unparse(tree)


def _refuse_unknown(tree: ast.Module, provided: frozenset[str]) -> None:
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    made = {n.id for n in names if not isinstance(n.ctx, ast.Load)}
    made |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    made |= {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    known = made | provided | SCOPE_NAMES | set(vars(builtins))
    unknown = {n.id for n in names if n.id not in known}
    unknown |= {
        f"extern_kernels.{n.attr}"
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "extern_kernels"
        and n.attr not in EXTERN_NAMES
    }  # fmt: skip
    if unknown:
        raise BuildError(
            f"inductor's program uses names that packs do not have: {', '.join(sorted(unknown))}",
            hint="report this with the version of torch",
        )


def _buffer_of(name: str, tensor: torch.Tensor) -> Buffer:
    return Buffer(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), tuple(tensor.stride()))


def _bytes_of(tensor: torch.Tensor) -> bytes:
    whole = torch.as_strided(tensor, (tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,), 0)
    return bytes(whole.cpu().view(torch.uint8).numpy().tobytes())
