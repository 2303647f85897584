"""Empty latents, and the ways between pictures and latents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from graphs.errors import RunError
from runtime.ops.latent import decode_latent, decode_latent_u8, empty_latent, encode_image
from runtime.values import Latent
from tests.runtime.op_context import FunctionModule, context

VAE = {"latent": {"channels": 4, "downscale": 8, "scale": 0.18215, "shift": 0.0}}


@pytest.mark.parametrize(
    ("width", "height", "shape"), [(64, 128, (16, 8)), (70, 71, (8, 8)), (16, 24, (3, 2))]
)
def test_empty_latents_are_zeros_of_an_eighth(tmp_path: Path, width: int, height: int, shape: tuple[int, int]) -> None:
    latent = empty_latent(context(tmp_path), width, height, 3)
    assert torch.equal(latent.samples, torch.zeros(3, 4, *shape))
    assert latent.noise_mask is None
    assert latent.batch_index is None


def test_pictures_are_cut_about_their_centre_to_multiples_of_8(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    def encoder(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(inputs["image"])
        return {"latent": torch.zeros(1, 4, 2, 3)}

    rows = torch.arange(23.0).reshape(1, 23, 1, 1).expand(1, 23, 31, 4)
    columns = torch.arange(31.0).reshape(1, 1, 31, 1).expand(1, 23, 31, 4)
    ctx = context(tmp_path, attrs=VAE, modules={"vae_encoder": FunctionModule(encoder)})
    assert encode_image(ctx, rows).samples.shape == (1, 4, 2, 3)
    encode_image(ctx, columns)
    assert [tuple(t.shape) for t in seen] == [(1, 16, 24, 3)] * 2
    assert seen[0][0, :, 0, 0].tolist() == [float(v) for v in range(3, 19)]  # 23 % 8 // 2 = 3
    assert seen[1][0, 0, :, 0].tolist() == [float(v) for v in range(3, 27)]  # 31 % 8 // 2 = 3
    assert all(t.is_contiguous() for t in seen)


def test_what_a_network_gives_survives_its_next_call(tmp_path: Path) -> None:
    """Engines may write into the same buffer at every call."""
    buffer = torch.zeros(1, 8, 8, 3)

    def decoder(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"image": buffer.fill_(float(inputs["latent"].mean()))}

    module = FunctionModule(decoder)
    ctx = context(tmp_path, attrs=VAE, modules={"vae_decoder": module, "vae_decoder_u8": module})
    one, two = (decode_latent(ctx, Latent(torch.full((1, 4, 1, 1), v))) for v in (1.0, 2.0))
    assert (float(one.mean()), float(two.mean())) == (1.0, 2.0)
    three = decode_latent_u8(ctx, Latent(torch.full((1, 4, 1, 1), 3.0)))
    assert (float(two.mean()), float(three.mean())) == (2.0, 3.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_latent_that_is_not_finite_is_refused_before_it_becomes_a_black_picture(tmp_path: Path, bad: float) -> None:
    ctx = context(tmp_path, attrs=VAE)
    samples = torch.zeros(1, 4, 2, 2)
    samples[0, 0, 0, 0] = bad
    with pytest.raises(RunError, match=r"not finite.*--precision fp32"):
        decode_latent_u8(ctx, Latent(samples))


def test_a_picture_that_is_black_all_over_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A decoder that overflows gives NaN, which is 0 in 8 bits."""

    def decoder(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"image": (inputs["latent"].movedim(1, -1)[..., :3] * 255).to(torch.uint8)}

    ctx = context(tmp_path, attrs=VAE, modules={"vae_decoder_u8": FunctionModule(decoder)})
    decode_latent_u8(ctx, Latent(torch.ones(1, 4, 2, 2)))
    assert caplog.text == ""
    assert not decode_latent_u8(ctx, Latent(torch.zeros(1, 4, 2, 2))).any()
    assert "black all over" in caplog.text
