"""Compiles the buckets of an engine at once, each in a process of its own: Inductor's front holds one core.

Tuning is what must not run beside other work: inductor_builder.py lets one process at a time do it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

from graphs.errors import BuildError
from runtime.backends.backend import TensorSpec
from runtime.backends.kernel_pack import Blobs, BucketProgram, Buffer

_CORES_EACH = 4  # one for the front, the others for the machine code of kernels


@dataclass(frozen=True)
class Compiled:
    """A program with what its indices stand for: the weights and blobs of it alone."""

    program: BucketProgram
    weights: tuple[Buffer, ...]
    blobs: tuple[bytes, ...]


@dataclass(frozen=True)
class Order:
    """graph: a saved program."""

    graph: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sizes: Mapping[str, int]


def compile_alone(order: Order) -> Compiled:
    """Raises BuildError."""
    from runtime.backends.inductor_builder import compile_bucket
    from runtime.backends.kernel_pack import Weights
    from runtime.backends.saved_programs import load_program

    weights, blobs = Weights(), Blobs()
    program = compile_bucket(load_program(order.graph), order.inputs, order.outputs, order.sizes, weights, blobs)
    return Compiled(program, tuple(weights.wanted), tuple(blobs.content))


def compile_all(orders: Sequence[Order], done: Callable[[int], None]) -> list[Compiled]:
    """In the order of `orders`. done: called with the number of those that are compiled, 0 first; what it raises stops
    the others. One order is compiled in this process. Raises BuildError."""
    done(0)
    workers = min(len(orders), max(1, (os.cpu_count() or 1) // _CORES_EACH), _room(orders[0]))
    if workers == 1:
        compiled = []
        for number, order in enumerate(orders):
            compiled.append(compile_alone(order))
            done(number + 1)
        return compiled
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(compile_alone, order) for order in orders]
        try:
            for number, future in enumerate(as_completed(futures)):
                future.result()
                done(number + 1)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise BuildError(
                    "a process that compiled a network for inductor ended early; is memory short?"
                ) from error
            raise
        return [future.result() for future in futures]


def _room(order: Order) -> int:
    """How many may be compiled at once in the GPU's memory: each has the weights, values as large, and a context."""
    import torch

    from runtime.backends.saved_programs import load_program

    tensors = load_program(order.graph).state_dict.values()
    weights: int = sum(t.numel() * t.element_size() for t in tensors)
    free: int = torch.cuda.mem_get_info()[0]
    return max(1, free // (2 * weights + (2 << 30)))


def joined(
    parts: Sequence[Compiled], weights: Callable[[Buffer], int], blobs: Callable[[bytes], int]
) -> list[BucketProgram]:
    """The programs with indices into one pack. weights, blobs: give the index of what they are given."""
    programs = []
    for part in parts:
        weight = [weights(buffer) for buffer in part.weights]
        blob = [blobs(content) for content in part.blobs]
        programs.append(
            replace(
                part.program,
                source=blob[part.program.source],
                kernels=tuple(replace(k, image=blob[k.image]) for k in part.program.kernels),
                weights=tuple(weight[i] for i in part.program.weights),
                constants={name: (buffer, blob[i]) for name, (buffer, i) in part.program.constants.items()},
            )
        )
    return programs
