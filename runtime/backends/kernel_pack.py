"""Programs of GPU kernels in one file: what Inductor compiled, in a form that loads without Inductor and Triton.

    pack = header (JSON) + blobs
      program   one per bucket of sizes: Python source that calls kernels and torch's operators in order
      kernel    name in the source, machine code (a blob), arguments, launch grid as expressions of the arguments
      weights   name, dtype, shape, strides: given to every program, first of all its arguments

Kernels and programs share blobs of equal content, so a second bucket costs what is new in it. Loading compiles the
source (Python), hands machine code to the driver, and traces nothing: docs/adr/0050-inductor-engines.md.
A pack is code: load only packs that this machine's store made.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from graphs.errors import PlanError
from runtime.backends.cuda_driver import KernelImage

VERSION = 2  # of the form of the file, and of what is compiled into it: part of an engine's key
MAGIC = b"comfyc kernel pack %d\n" % VERSION
Json = Any


@dataclass(frozen=True)
class Kernel:
    """image: index of the blob. arguments: as the source passes them, by name, without the stream. passed: those that
    the machine code takes, "" a null pointer. prefix: statements that the grid's expressions need."""

    name: str
    symbol: str
    image: int
    warps: int
    shared_bytes: int
    arguments: tuple[str, ...]
    passed: tuple[str, ...]
    types: str
    prefix: tuple[str, ...]
    grid: tuple[str, str, str]


@dataclass(frozen=True)
class Buffer:
    """A tensor that a program takes. dtype: torch's name. strides: as the program wants them.

    transform: how a weight follows from the file's weight of that name, a key of device_weights.TRANSFORMS. parts: the
    weights that it holds one behind the other, with their rows, where they are several; a weight of no elements is
    held by another."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    transform: str = ""
    parts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class BucketProgram:
    """sizes: the dynamic dimensions it was compiled for. source: index of the blob; it defines call(list) -> tuple.
    weights: indices of the pack's weights, the first arguments; inputs are the others.
    constants: name in the source -> (buffer, index of the blob)."""

    sizes: Mapping[str, int]
    source: int
    kernels: tuple[Kernel, ...]
    weights: tuple[int, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, tuple[Buffer, int]]


@dataclass(frozen=True)
class KernelPack:
    library: str  # the torch that compiled it, and may run it
    capability: str  # "sm90"
    weights: tuple[Buffer, ...]
    programs: tuple[BucketProgram, ...]
    blobs: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        header = asdict(self)
        header["blobs"] = [len(b) for b in self.blobs]
        text = json.dumps(header, separators=(",", ":")).encode()
        return b"".join((MAGIC, struct.pack("<Q", len(text)), text, *self.blobs))


class Blobs:
    """Collects blobs, each content once."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self.content: list[bytes] = []

    def add(self, blob: bytes) -> int:
        key = hashlib.sha256(blob).hexdigest()
        if key not in self._index:
            self._index[key] = len(self.content)
            self.content.append(blob)
        return self._index[key]


class Weights:
    """Collects the weights that programs want, each once."""

    def __init__(self) -> None:
        self.wanted: list[Buffer] = []

    def add(self, buffer: Buffer) -> int:
        if buffer not in self.wanted:
            self.wanted.append(buffer)
        return self.wanted.index(buffer)


def read_pack(content: bytes | memoryview) -> KernelPack:
    """Raises PlanError where the bytes are no pack."""
    try:
        view = memoryview(content)
        if bytes(view[: len(MAGIC)]) != MAGIC:
            raise ValueError("another format")
        start = len(MAGIC) + 8
        (length,) = struct.unpack_from("<Q", view, len(MAGIC))
        header = json.loads(bytes(view[start : start + length]))
        blobs, place = [], start + length
        for size in header["blobs"]:
            blobs.append(bytes(view[place : place + size]))
            place += size
        if place != len(view):
            raise ValueError(f"{len(view)} bytes in place of {place}")
        return KernelPack(
            header["library"], header["capability"], tuple(_buffer(w) for w in header["weights"]),
            tuple(_program(p) for p in header["programs"]), tuple(blobs),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise PlanError(f"not an engine of the inductor backend: {error}", hint="compile the plan again") from error


def _program(fields: Json) -> BucketProgram:
    rows: list[dict[str, Any]] = [
        {k: tuple(v) if isinstance(v, list) else v for k, v in kernel.items()} for kernel in fields["kernels"]
    ]
    kernels = tuple(Kernel(**row) for row in rows)
    constants = {n: (_buffer(b), i) for n, (b, i) in fields["constants"].items()}
    inputs = tuple(_buffer(b) for b in fields["inputs"])
    return BucketProgram(
        fields["sizes"], fields["source"], kernels, tuple(fields["weights"]), inputs, tuple(fields["outputs"]),
        constants,
    )


def _buffer(fields: Json) -> Buffer:
    shape, strides = tuple(fields["shape"]), tuple(fields["strides"])
    parts = tuple((name, rows) for name, rows in fields["parts"])
    return Buffer(fields["name"], fields["dtype"], shape, strides, fields["transform"], parts)


Call = Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]


class LoadedPack:
    """The kernels of a pack on the current device. A program's call takes weights, then inputs; it empties the list."""

    def __init__(self, pack: KernelPack) -> None:
        self._pack = pack
        self._images: dict[int, KernelImage] = {}

    def program(self, program: BucketProgram) -> Call:
        scope = _scope()
        for kernel in program.kernels:
            scope[kernel.name] = self._kernel(kernel)
        for name, (buffer, blob) in program.constants.items():
            scope[name] = _constant(buffer, self._pack.blobs[blob])
        exec(compile(self._pack.blobs[program.source], "<inductor program>", "exec"), scope)
        call: Call = scope["call"]
        return call

    def _kernel(self, kernel: Kernel) -> _Launcher:
        if kernel.image not in self._images:
            self._images[kernel.image] = KernelImage(self._pack.blobs[kernel.image])
        launch = self._images[kernel.image].function(kernel.symbol, kernel.types, kernel.warps, kernel.shared_bytes)
        return _Launcher(kernel, launch)

    def close(self) -> None:
        while self._images:
            self._images.popitem()[1].close()


class _Launcher:
    """Stands in the source where Inductor has its kernel: run(arguments..., stream=...)."""

    def __init__(self, kernel: Kernel, launch: Any) -> None:
        x, y, z = kernel.grid
        lines = (
            f"def run({', '.join((*kernel.arguments, 'stream'))}):",
            *(f"    {line}" for line in kernel.prefix),
            f"    launch({x}, {y}, {z}, stream, ({''.join(f'{name or None}, ' for name in kernel.passed)}))",
        )
        scope: dict[str, Any] = {"launch": launch}
        exec("\n".join(lines), scope)
        self.run = scope["run"]


class _Extern:
    """The library calls that Inductor's programs make by these names."""

    mm, addmm, bmm, baddbmm = torch.mm, torch.addmm, torch.bmm, torch.baddbmm
    mm_dtype, bmm_dtype = torch.mm, torch.bmm  # with out_dtype
    convolution = staticmethod(torch.convolution)

    @staticmethod
    def bias_addmm(
        inp: torch.Tensor, mat1: torch.Tensor, mat2: torch.Tensor, *, out: torch.Tensor | None = None,
        alpha: float = 1, beta: float = 1,
    ) -> torch.Tensor:  # fmt: skip
        """addmm with the bias as a vector, for which cuBLAS has a faster way."""
        if inp.dim() == 2 and (inp.stride(0) == 0 or inp.size(0) == 1):
            inp = inp[0]
        return torch.addmm(inp, mat1, mat2, out=out, alpha=alpha, beta=beta)


EXTERN_NAMES = frozenset(n for n in vars(_Extern) if not n.startswith("__"))


def _scope() -> dict[str, Any]:
    """The names that programs use: those of the header that Inductor writes, but none of Inductor's modules."""
    guards: Any = torch._C._dynamo.guards
    return {
        "torch": torch,
        "math": math,
        "inf": math.inf,
        "nan": math.nan,
        "device": torch.device,
        "empty_strided": torch.empty_strided,
        "aten": torch.ops.aten,
        "extern_kernels": _Extern,
        "assert_size_stride": guards.assert_size_stride,
        "assert_alignment": guards.assert_alignment,
        "empty_strided_cpu": guards._empty_strided_cpu,
        "empty_strided_cuda": guards._empty_strided_cuda,
        "reinterpret_tensor": guards._reinterpret_tensor,
        "get_raw_stream": torch._C._cuda_getCurrentRawStream,
    }


SCOPE_NAMES = frozenset(
    {"torch", "math", "inf", "nan", "device", "empty_strided", "aten", "extern_kernels", "assert_size_stride",
     "assert_alignment", "empty_strided_cpu", "empty_strided_cuda", "reinterpret_tensor", "get_raw_stream"}
)  # fmt: skip


def _constant(buffer: Buffer, blob: bytes) -> torch.Tensor:
    flat = torch.frombuffer(bytearray(blob), dtype=getattr(torch, buffer.dtype))
    return torch.as_strided(flat, buffer.shape, buffer.strides).to("cuda")
