"""The measures of test_demo_model are worth something: broken code does not meet them.

Each test holds a measure against the code as it is, which must pass, and against the code with one thing broken where
it really happens, which must fail."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.e2e import demo_workflows as workflows
from tests.e2e.demo_workflows import DEFAULT, STEPS
from tests.e2e.measures import CAPTIONS, exact, fill, palette_error, scores, share_in_place, starry
from tests.e2e.studio import Nodes, Picture, Studio
from training.score import compare, read
from training.tokens import known

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]
TEXTS = CAPTIONS[:3]


def drawn(studio: Studio, text: str, nodes: Nodes = DEFAULT, seed: int = 0) -> Picture:
    """With the code as it now is."""
    return studio.draw_anew(nodes, {"6.text": text, "3.seed": seed, "3.steps": STEPS})


def share_right(studio: Studio) -> float:
    """Of the captions, those whose picture shows just what they say."""
    found = [exact(score) for score in scores(lambda text, seed: drawn(studio, text, seed=seed), TEXTS, (0,))]
    return sum(found) / len(found)


@pytest.fixture(scope="module")
def unbroken(studio: Studio) -> float:
    return share_right(studio)


# --- the sampler and the guidance


def _slope_times(factor: float) -> Break:
    def apply(patch: Patch) -> None:
        euler = importlib.import_module("runtime.sampling.samplers.euler")  # the package has a function of that name
        real = euler.slope
        patch.setattr(euler, "slope", lambda x, sigma, denoised: factor * real(x, sigma, denoised))

    return apply


def _swap_sides(patch: Patch) -> None:
    _change_sides(patch, lambda sides: {"positive": sides["negative"], "negative": sides["positive"]})


def _negative_alone(patch: Patch) -> None:
    """The text is not heard at all: both sides are the negative one."""
    _change_sides(patch, lambda sides: dict.fromkeys(sides, sides["negative"]))


def _change_sides(patch: Patch, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    from runtime.sampling.entries import entries_of as real

    patch.setattr("runtime.ops.sample.entries_of", lambda sides, *rest: real(change(sides), *rest))


# --- the text


def _change_tokens(change: Callable[[Tensor], Tensor]) -> Break:
    def apply(patch: Patch) -> None:
        from runtime.ops import text

        real = text._inputs

        def inputs(rows: Sequence[Sequence[Any]], width: int, device: torch.device) -> Mapping[str, Tensor]:
            made = real(rows, width, device)
            return {**made, "tokens": change(made["tokens"])}

        patch.setattr(text, "_inputs", inputs)

    return apply


def _other_rows(tokens: Tensor) -> Tensor:
    """As if the rows of the token table stood in another order; start and end keep theirs."""
    words = torch.tensor(known()[:-2])
    table = torch.arange(49408)
    table[words] = words[torch.randperm(len(words), generator=torch.Generator().manual_seed(1))]
    return table[tokens]


def _last_word_first(tokens: Tensor) -> Tensor:
    length = int((tokens[0] < 49406).sum())
    return torch.cat([tokens[:, :1], tokens[:, 1 : 1 + length].flip(1), tokens[:, 1 + length :]], dim=1)


def _change_embedding(change: Callable[[Tensor], Tensor]) -> Break:
    def apply(patch: Patch) -> None:
        from runtime.ops import text

        real = text._encode

        def run(*args: Any) -> tuple[Tensor, Tensor]:
            hidden, pooled = real(*args)
            return change(hidden), pooled

        patch.setattr(text, "_encode", run)

    return apply


def _shuffled(dim: int) -> Callable[[Tensor], Tensor]:
    def shuffle(hidden: Tensor) -> Tensor:
        order = torch.randperm(hidden.shape[dim], generator=torch.Generator().manual_seed(1))
        return hidden.index_select(dim, order)

    return shuffle


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(_slope_times(0.7), id="euler's step too short"),
        pytest.param(_slope_times(-1.0), id="euler's step backwards"),
        pytest.param(_swap_sides, id="positive and negative swapped"),
        pytest.param(_negative_alone, id="negative on both sides"),
        pytest.param(_change_tokens(_other_rows), id="token rows permuted"),
        pytest.param(_change_tokens(_last_word_first), id="words backwards"),
        pytest.param(_change_embedding(_shuffled(2)), id="embedding channels shuffled"),
        pytest.param(_change_embedding(torch.zeros_like), id="no text"),
    ],
)
def test_pictures_of_broken_code_are_not_what_was_asked_for(
    studio: Studio, unbroken: float, broken: Break, monkeypatch: Patch
) -> None:
    assert unbroken == 1
    broken(monkeypatch)
    assert share_right(studio) <= 1 / 3


def test_a_step_a_tenth_too_short_leaves_noise(studio: Studio, monkeypatch: Patch) -> None:
    """Shapes and colours survive that; clean surfaces do not [0.012 unbroken, 0.030 broken]."""

    def noise() -> float:
        return sum(palette_error(drawn(studio, caption.text), soft=False) for caption in TEXTS) / len(TEXTS)

    assert noise() < 0.018
    _slope_times(0.9)(monkeypatch)
    assert noise() > 0.022


def test_the_order_of_the_embeddings_rows_is_no_mutation(studio: Studio, unbroken: float, monkeypatch: Patch) -> None:
    """The U-Net attends to the text as to a set, so that shuffled rows must not change a picture: what would break it
    is above."""
    before = drawn(studio, TEXTS[0].text)
    _change_embedding(_shuffled(1))(monkeypatch)
    assert abs(drawn(studio, TEXTS[0].text) - before).max() < 0.05


# --- what goes with the model


def test_a_lora_that_is_not_merged_draws_no_outlines(studio: Studio, monkeypatch: Patch) -> None:
    """The strength is this test's own, so that no other finds the broken weights in the store."""
    from compiler.models import lora

    assert fill(drawn(studio, TEXTS[0].text, workflows.outlines())) < 0.2
    monkeypatch.setattr(lora, "_changes", lambda tensors, aliases, part, encoder: [])
    assert fill(drawn(studio, TEXTS[0].text, workflows.outlines(0.99))) > 0.7


def test_a_lora_merged_with_the_wrong_sign_draws_no_outlines(studio: Studio, monkeypatch: Patch) -> None:
    assert not fill(drawn(studio, TEXTS[0].text, workflows.outlines(-1.0))) < 0.2


def test_an_embedding_whose_vectors_are_left_out_is_no_starry_night(studio: Studio, monkeypatch: Patch) -> None:
    from runtime.ops import text

    assert starry(drawn(studio, "embedding:starry-night"))
    real = text._inputs

    def inputs(*args: Any) -> Mapping[str, Tensor]:
        made = real(*args)
        return {**made, "override_mask": torch.zeros_like(made["override_mask"])}

    monkeypatch.setattr(text, "_inputs", inputs)
    assert not starry(drawn(studio, "embedding:starry-night"))


def test_a_control_net_without_its_hint_puts_things_elsewhere(studio: Studio, monkeypatch: Patch) -> None:
    from runtime.ops import controlnet

    scene = workflows.spots("heart", "pink", "grey")
    nodes, text = workflows.controlled(studio, scene), "four pink hearts on a grey background"
    assert share_in_place(scene, drawn(studio, text, nodes)) == 1
    real = controlnet.fit_hint
    monkeypatch.setattr(controlnet, "fit_hint", lambda *args: torch.zeros_like(real(*args)))
    assert share_in_place(scene, drawn(studio, text, nodes)) <= 0.5


def test_inpainting_with_the_mask_left_out_keeps_nothing(studio: Studio, monkeypatch: Patch) -> None:
    from runtime.sampling.inpaint import fit_mask

    nodes, text = workflows.inpainting(studio), workflows.INPAINTED.text
    assert workflows.kept(drawn(studio, text, nodes))
    monkeypatch.setattr("runtime.ops.sample.fit_mask", lambda *args: torch.ones_like(fit_mask(*args)))
    assert not workflows.kept(drawn(studio, text, nodes))


def test_image_to_image_that_forgets_the_picture_forgets_the_layout(studio: Studio, monkeypatch: Patch) -> None:
    from runtime.ops import sample

    scene = workflows.spots("circle", "red", "white")
    nodes, text = workflows.from_picture(studio, scene), "four green squares on white"
    assert share_in_place(scene, drawn(studio, text, nodes)) == 1
    real = sample._normalised
    monkeypatch.setattr(sample, "_normalised", lambda *args: torch.zeros_like(real(*args)))
    assert share_in_place(scene, drawn(studio, text, nodes)) <= 0.5


def test_the_unbroken_code_still_passes(studio: Studio, unbroken: float) -> None:
    """No mutation is left behind."""
    picture = drawn(studio, TEXTS[0].text)
    assert unbroken == 1
    assert exact(compare(TEXTS[0].scene, read(picture)))
