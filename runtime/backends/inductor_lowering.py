"""From a saved program to the graph that Inductor takes: every size a number, on the GPU, our own kernels in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.nn.attention import SDPBackend, sdpa_kernel

from graphs.dims import size_of
from runtime.backends.backend import TensorSpec
from runtime.backends.inductor_rewrites import Rewriting, grown_convolutions
from runtime.backends.inductor_stacks import parts, stacked
from runtime.backends.kernel_pack import Buffer
from runtime.backends.saved_programs import named_arguments, on_device

# cuDNN's attention is the fastest on Hopper at head dimensions 40 to 160, where it can: docs/adr/0050.
_ATTENTION = [
    SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH,
]  # fmt: skip
FOLD = "fold"  # the transform of a weight that runtime/backends/kernels/upsample.py folds


def input_buffers(inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> tuple[Buffer, ...]:
    """The network's inputs at these sizes, contiguous."""
    found = []
    for spec in inputs:
        shape = tuple(size_of(d, sizes) for d in spec.shape)
        found.append(Buffer(spec.name, spec.dtype, shape, _meta(shape).stride()))
    return tuple(found)


def weight_buffers(program: ExportedProgram, given: Sequence[Buffer]) -> tuple[Buffer, ...]:
    """The weights in the order of the program's arguments, as its form at these input sizes wants them.

    4-dim ones are channels last: convolutions copy them at every call where they are not.
    """
    grown = grown_convolutions(program, _symbols(program, given))
    named = named_arguments(program)
    shares = stacked(program)
    held = parts(shares, named)
    buffers = []
    for node in program.graph.find_nodes(op="placeholder"):
        if node.name not in named:
            continue
        shape = tuple(int(n) for n in node.meta["val"].shape)
        transform = ""
        if node.name in grown:
            shape, transform = (shape[1], shape[0], 4, 4), FOLD
        dtype = str(node.meta["val"].dtype).removeprefix("torch.")
        inside = held.get(node.name, ())
        if node.name in shares:
            shape = (sum(rows for _, rows in inside), *shape[1:]) if inside else (0,)
        buffers.append(Buffer(named[node.name], dtype, shape, _strides(shape), transform, inside))
    return tuple(buffers)


def _meta(shape: Sequence[int]) -> torch.Tensor:
    return torch.empty(tuple(shape), device="meta")


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    plain = _meta(shape)
    return plain.contiguous(memory_format=torch.channels_last).stride() if len(shape) == 4 else plain.stride()


def _symbols(program: ExportedProgram, given: Sequence[Buffer]) -> dict[str, int]:
    """Symbol of the traced shapes -> number, read off the inputs."""
    weights = named_arguments(program)
    inputs = [n for n in program.graph.find_nodes(op="placeholder") if n.name not in weights]
    found: dict[str, int] = {}
    for node, buffer in zip(inputs, given, strict=True):
        for size, number in zip(node.meta["val"].shape, buffer.shape, strict=True):
            symbols = [] if isinstance(size, int) else list(size.node.expr.free_symbols)
            if len(symbols) == 1:
                factor = size.node.expr.xreplace({symbols[0]: 1})  # 8 for a size of 8*s
                found.setdefault(str(symbols[0]), number // int(factor))
    return found


def lowered(program: ExportedProgram, buffers: Sequence[Buffer]) -> tuple[fx.GraphModule, list[Any], Any]:
    """The program traced for tensors of these buffers (weights, then inputs), in the operators that Inductor takes.

    Returns the graph, its fake inputs and their mode."""
    from torch._inductor.decomposition import select_decomp_table
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    arguments = [n.name for n in program.graph.find_nodes(op="placeholder")]
    folded = {a for a, b in zip(arguments, buffers, strict=True) if b.transform == FOLD}
    mode = FakeTensorMode(shape_env=ShapeEnv())
    with mode, sdpa_kernel(_ATTENTION, set_priority=True), torch.no_grad():
        fakes = [empty(b) for b in buffers]
        network = Rewriting(on_device(program.graph_module, "cuda"), folded, stacked(program))
        graph = make_fx(network.run, select_decomp_table())(*fakes)
    return graph, fakes, mode


def empty(buffer: Buffer) -> torch.Tensor:
    return torch.empty_strided(buffer.shape, buffer.strides, dtype=getattr(torch, buffer.dtype), device="cuda")

