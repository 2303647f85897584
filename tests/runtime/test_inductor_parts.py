"""The parts of Inductor engines that need no GPU: rules, buckets, sources, packs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from graphs.dims import Dim
from graphs.errors import BuildError, DeviceError, PlanError
from runtime.backends.backend import EngineSpec, TensorSpec
from runtime.backends.device_weights import DeviceWeights
from runtime.backends.inductor import InductorBackend
from runtime.backends.inductor_buckets import buckets, row_blocks
from runtime.backends.inductor_builder import program_source
from runtime.backends.inductor_lowering import weight_buffers
from runtime.backends.inductor_rewrites import Rewriting
from runtime.backends.inductor_stacks import stacked
from runtime.backends.kernel_pack import Blobs, BucketProgram, Buffer, Kernel, KernelPack, read_pack
from runtime.backends.kernels.upsample import fold, grown_conv
from runtime.backends.kernels.upsample import reference as upsample_reference
from runtime.backends.kernels.wide_attention import reference as attention_reference
from runtime.backends.kernels.wide_attention import wide_attention
from runtime.backends.staging import read_into
from runtime.mapped import Place, places

LATENT = TensorSpec("x", "float32", (Dim("batch"), 4, Dim("height"), Dim("width")))
SOURCE = '''
import triton
kernel = async_compile.triton("kernel", """...""")
async_compile.wait(globals())
del async_compile
class Runner:
    def __init__(self, partitions):
        self.partitions = partitions
    def call(self, args):
        x, = args
        args.clear()
        y = empty_strided_cuda((2,), (1,), torch.float16)
        kernel.run(x, y, 2, stream=get_raw_stream(0))
        return (extern_kernels.mm(y, y),)
runner = Runner(partitions=[])
call = runner.call
def benchmark_compiled_module():
    unknown()
'''


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 4, 5, 7)])
def test_a_folded_convolution_is_the_plain_one(shape: tuple[int, ...]) -> None:
    x, weight, bias = torch.randn(shape).double(), torch.randn(6, shape[1], 3, 3).double(), torch.randn(6).double()
    folded = fold(weight.float()).double()
    torch.testing.assert_close(
        grown_conv(x, folded, bias), upsample_reference(x, weight.float().double(), bias), rtol=1e-5, atol=1e-5
    )


def test_wide_attention_is_attention() -> None:
    q, k, v = (torch.randn(2, 1, 5, 24) for _ in range(3))
    torch.testing.assert_close(wide_attention(q, k, v), attention_reference(q, k, v))


def test_one_size_is_one_bucket_and_the_usual_one_is_first() -> None:
    profile = {"batch": (1, 2, 2), "height": (64, 64, 64), "width": (64, 64, 128)}
    assert buckets((LATENT,), profile) == (
        {"batch": 2, "height": 64, "width": 64}, {"batch": 2, "height": 64, "width": 128}
    )  # fmt: skip


def test_too_many_sizes_are_refused_with_what_to_do() -> None:
    profile = {"batch": (1, 2, 8), "height": (8, 64, 128), "width": (8, 64, 128)}
    with pytest.raises(BuildError, match="18 combinations") as caught:
        buckets((LATENT,), profile)
    assert "--size" in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "held", "blocks"),
    [(2, [2], [(2, 2)]), (1, [2], [(1, 2)]), (3, [2], [(2, 2), (1, 2)]), (9, [2, 8], [(8, 8), (1, 2)])],
)
def test_rows_are_padded_and_split(rows: int, held: list[int], blocks: list[tuple[int, int]]) -> None:
    assert row_blocks(rows, held) == blocks


def test_a_program_keeps_the_call_and_nothing_that_imports() -> None:
    source = program_source(SOURCE, frozenset({"kernel"}))
    assert "kernel.run" in source
    assert "import" not in source
    assert "async_compile" not in source
    assert "benchmark" not in source


@pytest.mark.parametrize(("old", "new"), [("extern_kernels.mm", "extern_kernels.new_op"), ("torch.float16", "other")])
def test_a_program_with_a_name_that_packs_lack_is_refused(old: str, new: str) -> None:
    with pytest.raises(BuildError, match=new):
        program_source(SOURCE.replace(old, new), frozenset({"kernel"}))


def pack() -> KernelPack:
    blobs = Blobs()
    kernel = Kernel("k", "k_0", blobs.add(b"code"), 4, 0, ("x", "n"), ("x", "n", ""), "OiO", (), ("n", "1", "1"))
    weight = Buffer("w", "float16", (2, 3, 4, 4), (48, 1, 12, 3), "fold", (("a", 1), ("b", 1)))
    program = BucketProgram(
        {"batch": 2}, blobs.add(b"source"), (kernel,), (0,), (Buffer("x", "float32", (2,), (1,)),), ("y",),
        {"c": (Buffer("c", "float32", (1,), (1,)), blobs.add(b"\0\0\0\0"))},
    )  # fmt: skip
    return KernelPack("2.11", "sm90", (weight,), (program, program), tuple(blobs.content))


def test_a_pack_is_read_as_it_was_written() -> None:
    assert read_pack(pack().to_bytes()) == pack()


def test_equal_blobs_are_kept_once() -> None:
    blobs = Blobs()
    assert blobs.add(b"a") == blobs.add(b"a") != blobs.add(b"b")
    assert blobs.content == [b"a", b"b"]


def test_layers_of_one_input_are_computed_as_one() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(6, n, bias=False) for n in (4, 4, 5))
            self.other, self.last = nn.Linear(6, 3), nn.Linear(5, 2, bias=False)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.k(x), self.q(x), self.last(self.v(x)), self.other(x)

    layers, x = Layers(), torch.randn(2, 3, 6)
    program = torch.export.export(layers, (x,))
    buffers = weight_buffers(program, (Buffer("x", "float32", (2, 3, 6), (18, 6, 1)),))
    held = next(b for b in buffers if b.parts)
    assert held.parts == (("k.weight", 4), ("q.weight", 4), ("v.weight", 5))
    assert {b.name: b.shape for b in buffers} == {
        "k.weight": (13, 6), "q.weight": (0,), "v.weight": (0,), "last.weight": (2, 5), "other.weight": (3, 6),
        "other.bias": (3,),
    }  # fmt: skip
    weights = DeviceWeights(buffers, torch.device("cpu"))
    for name, weight in layers.state_dict().items():
        for _, place in weights._places[name]:
            place.copy_(weight)
    with torch.no_grad():
        results = Rewriting(program.graph_module, (), stacked(program)).run(*weights.tensors, x)
        assert [r.shape for r in results] == [r.shape for r in layers(x)]
        for result, wanted in zip(results, layers(x), strict=True):
            torch.testing.assert_close(result, wanted)


def test_weights_are_read_from_their_files(tmp_path: Path) -> None:
    weights = {"a": torch.randn(3, 5), "b": torch.arange(7, dtype=torch.int64)}
    save_file(weights, tmp_path / "weights.safetensors")
    for name, place in places([tmp_path / "weights.safetensors"]).items():
        target = torch.empty(place.size_bytes, dtype=torch.uint8)
        read_into(target.numpy().data, place)
        assert torch.equal(target.view(place.dtype).view(place.shape), weights[name])
    short = Place(tmp_path / "weights.safetensors", 1 << 20, torch.float32, (4,))
    with pytest.raises(PlanError, match="ends early"):
        read_into(torch.empty(16, dtype=torch.uint8).numpy().data, short)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b"x" + b, lambda b: b""])
def test_a_damaged_pack_is_an_error_that_says_what_to_do(damage: object) -> None:
    with pytest.raises(PlanError, match="not an engine of the inductor backend"):
        read_pack(damage(pack().to_bytes()))  # type: ignore[operator]


def test_inductor_is_for_gpus() -> None:
    with pytest.raises(DeviceError, match="NVIDIA"):
        InductorBackend().check(EngineSpec("fp16", "cpu"))
    if not torch.cuda.is_available():
        assert not InductorBackend().available().can_build
