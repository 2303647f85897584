"""Prompts of two encoders, the vector condition and further channels, against what their formulas give."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from runtime.context import OpContext
from runtime.ops.concat import make_concat
from runtime.ops.text import encode_text
from runtime.ops.vector import make_vector, text_sizes
from runtime.text.chunks import tokenize
from runtime.values import Latent
from tests.runtime.op_context import FunctionModule
from tests.runtime.op_context import context as op_context

LATENT = {"channels": 4, "downscale": 8, "scale": 0.5, "shift": 0.0}
SDXL = {"numbers": ["height", "width", "crop_h", "crop_w", "target_height", "target_width"], "width": 256}
REFINER = {"numbers": ["height", "width", "crop_h", "crop_w", "ascore"], "width": 256}
INPAINT = {"channels": ["mask", "image"], "blank": [1.0, 2.0, 3.0, 4.0], "raw": False}
EDIT = {"channels": ["image"], "blank": [0.0, 0.0, 0.0, 0.0], "raw": True}


def encoder(width: int) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """Hidden states and pooled vector that show the tokens, or the vectors in their place."""

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        shown = torch.where(inputs["override_mask"] > 0, inputs["override"].mean(-1, keepdim=True),
                            inputs["tokens"].float()[..., None])  # fmt: skip
        return {"hidden": shown.expand(-1, -1, width), "pooled": shown[:, :2, 0]}

    return run


def text_context(embeddings: Mapping[str, Path] | None = None) -> OpContext:
    rows = [{"name": "clip_l", "width": 3, "padding": 49407}, {"name": "clip_g", "width": 5, "padding": 0}]
    attrs = {"text": {"encoders": rows, "pooled": "clip_g"}}
    modules = {"clip_l": FunctionModule(encoder(3)), "clip_g": FunctionModule(encoder(5))}
    return replace(op_context(Path(), attrs=attrs, modules=modules), embeddings=embeddings or {})


def slots(text: str, padding: int) -> Tensor:
    return torch.tensor([slot for chunk in tokenize(text, padding=padding) for slot in chunk.slots]).float()


def test_encoders_stand_side_by_side_each_with_its_padding() -> None:
    hidden, pooled = encode_text(text_context(), "a fox")
    assert hidden.shape == (1, 77, 8)
    assert torch.equal(hidden[0, :, 0], slots("a fox", 49407))
    assert torch.equal(hidden[0, :, 7], slots("a fox", 0))
    assert torch.equal(pooled, slots("a fox", 0)[None, :2])


def test_weights_move_from_the_empty_prompt_of_each_encoder() -> None:
    hidden, _ = encode_text(text_context(), "(fox:1.5)")
    for channel, padding in ((0, 49407), (7, 0)):
        plain, empty = slots("fox", padding), slots("", padding)
        assert torch.allclose(hidden[0, 1, channel], empty[1] + 1.5 * (plain[1] - empty[1]))


def test_two_prompts_are_filled_up_with_empty_chunks() -> None:
    long = "fox " * 80
    hidden, _ = encode_text(text_context(), long, "hare")
    assert hidden.shape == (1, 154, 8)
    assert torch.equal(hidden[0, :77, 0], slots("hare", 49407))
    assert torch.equal(hidden[0, 77:, 0], slots("", 49407))
    assert torch.equal(hidden[0, :, 7], slots(long, 0))


def test_an_inversion_for_both_encoders_gives_each_its_own_vectors(tmp_path: Path) -> None:
    save_file({"clip_l": torch.full((1, 3), 7.0), "clip_g": torch.full((1, 5), 9.0)}, tmp_path / "e.safetensors")
    hidden, _ = encode_text(text_context({"e": tmp_path / "e.safetensors"}), "embedding:e")
    assert hidden[0, 1, [0, 7]].tolist() == [7.0, 9.0]


def context(**facts: Any) -> OpContext:
    return replace(op_context(Path(), attrs={"side": "positive"}), model={"latent": LATENT, **facts})


def wave(value: float) -> Tensor:
    rates = [math.exp(-math.log(10000) * i / 128) for i in range(128)]
    return torch.tensor([math.cos(value * r) for r in rates] + [math.sin(value * r) for r in rates])


def test_the_vector_is_the_pooled_text_and_a_wave_of_each_number() -> None:
    latent, pooled = Latent(torch.zeros(2, 4, 6, 10)), torch.arange(3.0)[None]
    vector = make_vector(context(vector=SDXL), pooled, latent)
    expected = torch.cat([pooled[0], *(wave(number) for number in (48, 80, 0, 0, 48, 80))])
    torch.testing.assert_close(vector[0], expected, rtol=0, atol=2e-5)
    sizes = text_sizes(context(), 100, 200, 3, 4, 500, 600)
    vector = make_vector(context(vector=SDXL), pooled, latent, sizes)
    expected = torch.cat([pooled[0], *(wave(number) for number in (200, 100, 4, 3, 600, 500))])
    torch.testing.assert_close(vector[0], expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("side", "score"), [("positive", 6.0), ("negative", 2.5)])
def test_the_refiner_s_score_hangs_on_the_side(side: str, score: float) -> None:
    latent, pooled = Latent(torch.zeros(1, 4, 8, 8)), torch.zeros(1, 3)
    asked = replace(context(vector=REFINER), attrs={"side": side})
    torch.testing.assert_close(make_vector(asked, pooled, latent)[0, -256:], wave(score), rtol=0, atol=2e-5)
    sizes = text_sizes(asked, 64, 64, ascore=4.0)
    torch.testing.assert_close(make_vector(asked, pooled, latent, sizes)[0, -256:], wave(4.0), rtol=0, atol=2e-5)


def test_an_inpainting_model_is_given_the_rounded_mask_and_the_scaled_picture() -> None:
    latent = Latent(torch.randn(2, 4, 4, 4))
    image, mask = Latent(torch.randn(1, 4, 4, 4)), torch.tensor([[0.4, 0.6], [0.2, 1.0]])[None]
    concat = make_concat(context(concat=INPAINT), latent, image, mask)
    assert concat.shape == (2, 5, 4, 4)
    assert set(concat[:, 0].flatten().tolist()) == {0.0, 1.0}
    assert torch.equal(concat[1, 1:], image.samples[0] * 0.5)


def test_without_a_picture_it_is_given_the_latent_inside_a_mask_or_a_blank_one() -> None:
    samples = torch.randn(1, 4, 4, 4)
    masked = Latent(samples, torch.ones(1, 1, 4, 4))
    assert torch.equal(make_concat(context(concat=INPAINT), masked)[:, 1:], samples * 0.5)
    blank = make_concat(context(concat=INPAINT), Latent(samples))
    assert blank[0, :, 0, 0].tolist() == [1.0, 1.0, 2.0, 3.0, 4.0]


def test_instruct_pix2pix_is_given_the_raw_picture_or_nothing() -> None:
    latent, image = Latent(torch.zeros(1, 4, 4, 4)), Latent(torch.randn(1, 4, 8, 8))
    shown = make_concat(context(concat=EDIT), latent, image)
    expected = torch.nn.functional.interpolate(image.samples, size=(4, 4), mode="bilinear")
    torch.testing.assert_close(shown, expected)
    assert not make_concat(context(concat=EDIT), latent).any()
