"""Our own kernels against their references, at shapes that are no multiple of anything."""

from __future__ import annotations

import pytest
import torch

from runtime.backends.kernels.upsample import fold, grown_conv
from runtime.backends.kernels.upsample import reference as upsample_reference
from runtime.backends.kernels.wide_attention import reference as attention_reference
from runtime.backends.kernels.wide_attention import wide_attention

pytestmark = pytest.mark.gpu
SHAPES = [(1, 32, 1, 2), (2, 320, 7, 13), (1, 96, 33, 257), (3, 1280, 8, 9), (1, 128, 512, 512)]
DTYPES = {torch.float16: 2e-3, torch.bfloat16: 1e-2}


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("silu", [True, False])
def test_group_norm(shape: tuple[int, ...], dtype: torch.dtype, silu: bool) -> None:
    from runtime.backends.kernels.group_norm import group_norm, reference

    x = (torch.randn(shape, device="cuda") * 3 + 40).to(dtype).to(memory_format=torch.channels_last)
    weight, bias = torch.randn(shape[1], device="cuda").to(dtype), torch.randn(shape[1], device="cuda").to(dtype)
    wanted = reference(x.double(), weight.double(), bias.double(), 32, 1e-6, silu)
    assert relative(group_norm(x, weight, bias, 32, 1e-6, silu), wanted) < DTYPES[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 8, 1, 1), (2, 24, 5, 7), (1, 320, 33, 17)])
def test_grown_convolution(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape, device="cuda").to(dtype)
    weight = (torch.randn(40, shape[1], 3, 3, device="cuda") / 3 / shape[1] ** 0.5).to(dtype)
    wanted = upsample_reference(x.double(), weight.double(), None)
    assert relative(grown_conv(x, fold(weight), None), wanted) < DTYPES[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 77, 4097])
def test_wide_attention(length: int, dtype: torch.dtype) -> None:
    q, k, v = (torch.randn(2, 1, length, 512, device="cuda").to(dtype) for _ in range(3))
    assert relative(wide_attention(q, k, v), attention_reference(q.float(), k.float(), v.float())) < DTYPES[dtype]
