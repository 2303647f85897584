"""Every program pass but those that fuse and hoist: before, after, changes; a second run changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compiler.dump import weights_text
from compiler.passes.dedupe_steps import dedupe_steps
from compiler.passes.driver import Change, Context
from compiler.passes.fold import constants_needed, fold
from compiler.passes.forward_identity import forward_identity
from compiler.passes.freeze import freeze
from compiler.passes.hoist import hoist
from compiler.passes.prune_steps import prune_steps
from compiler.passes.share_networks import share_networks
from graphs.operands import Const, Literal, OperandTree, Param, Ref
from graphs.program import ModelUse, Program
from graphs.values import Merge, ModelFile
from tests.compiler.applied import applied, frozen
from tests.compiler.interpreter import Machine
from tests.compiler.programs import SD15, lora, network, program, sampling, step, text_to_image

Json = Any


# --- freeze ---------------------------------------------------------------------------------------------------------


def test_freeze_makes_a_parameter_a_literal() -> None:
    after, changes = applied(freeze, text_to_image(), frozen("6.text", "3.seed"))
    assert changes == ["6.text: frozen at 'a fox'", "3.seed: frozen at 1"]
    assert set(after.parameters) == {"7.text", "5.width", "3.steps"}
    assert after.steps[0].inputs["text"] == Literal("a fox")
    assert after.steps[4].inputs["seed"] == Literal(1)


def test_freeze_narrows_what_folding_depends_on() -> None:
    marked = replace(text_to_image().steps[0], folded={"6.embedding": "k"}, folded_when=("6.text",))
    before = text_to_image().with_steps((marked, *text_to_image().steps[1:]))
    after, _ = applied(freeze, before, frozen("6.text"))
    assert after.steps[0].folded_when == ()


# --- share_networks -------------------------------------------------------------------------------------------------


def test_loras_are_neither_summed_nor_reordered() -> None:
    """DoRA, GLoRA and OFT change the weights that they find: half of one twice is not the whole of it."""
    chain = lora(lora(lora(lora(SD15, "a", 0.5), "b", 1.0), "a", 0.25), "c", 0.0)
    before = program(
        [step("encode_text", {"text": Literal("x")}, "1.embedding", "1.pooled", networks={"clip_l": "clip"})],
        [network("clip", "clip_l", chain)],
    )
    after, changes = applied(share_networks, before)
    assert after.networks["clip"].weights == lora(lora(lora(SD15, "a", 0.5), "b", 1.0), "a", 0.25)
    assert changes == [
        "clip: weights are sd15.safetensors + 0.5 x a + 1 x b + 0.25 x a, without LoRAs of strength 0"
    ]


def test_equal_networks_become_one() -> None:
    before = program(
        [
            step("encode_text", {"text": Literal("x")}, "1.embedding", "1.pooled", networks={"clip_l": "clip"}),
            step("encode_text", {"text": Literal("y")}, "2.embedding", "2.pooled", networks={"clip_l": "clip.2"}),
            step("encode_text", {"text": Literal("z")}, "3.embedding", "3.pooled", networks={"clip_l": "clip.3"}),
        ],
        [
            network("clip", "clip_l"),
            network("clip.2", "clip_l", lora(SD15, "a", 0.0)),
            network("clip.3", "clip_l", stop_layer=-2),
        ],
    )
    after, changes = applied(share_networks, before)
    assert set(after.networks) == {"clip", "clip.3"}
    assert [s.networks["clip_l"] for s in after.steps] == ["clip", "clip", "clip.3"]
    assert "clip.2: the same network as clip" in changes


def test_a_merge_keeps_its_sides_and_shares() -> None:
    other = ModelFile("checkpoints", "other.safetensors")
    mix = Merge(lora(SD15, "a", 0.0), lora(other, "b", 1.0), (("", 0.25, 0.75), ("out.", 1.0, 0.0)))
    before = program(
        [step("encode_text", {"text": Literal("x")}, "1.embedding", "1.pooled", networks={"clip_l": "clip"})],
        [network("clip", "clip_l", mix)],
    )
    after, _ = applied(share_networks, before)
    assert after.networks["clip"].weights == replace(mix, a=SD15)
    side = "(other.safetensors + 1 x b)"
    expected = f"(0.25 x sd15.safetensors + 0.75 x {side}, out.: 1 x sd15.safetensors + 0 x {side})"
    assert weights_text(after.networks["clip"].weights) == expected


# --- forward_identity, prune_steps, dedupe_steps --------------------------------------------------------------------


def test_identities_are_skipped_in_chains() -> None:
    before = program(
        [
            step("identity", {"value": Param("1.value")}, "1.value"),
            step("identity", {"value": Ref("1.value")}, "2.value"),
            step("encode_text", {"text": Ref("2.value")}, "3.embedding", "3.pooled", networks={"clip_l": "clip"}),
        ],
        [network("clip", "clip_l")],
        n1__value="hi",
    )
    after, changes = applied(forward_identity, before)
    assert [s.op for s in after.steps] == ["encode_text"]
    assert after.steps[0].inputs["text"] == Param("1.value")
    assert changes == ["1.identity: only passes a value on", "2.identity: only passes a value on"]


def test_prune_drops_steps_networks_and_parameters() -> None:
    whole = text_to_image()
    before = whole.with_steps(whole.steps[:-3])  # nothing is decoded or saved
    assert applied(prune_steps, before)[0] == Program(())
    extra = step("decode_latent", {"latent": Ref("3.latent")}, "20.image", networks={"vae_decoder": "other"})
    blur = step(
        "scale_image", {"image": Ref("20.image"), "method": Literal("area"), "factor": Param("21.f")}, "21.image"
    )
    before = replace(
        whole.with_steps((*whole.steps, extra, blur)),
        networks={**whole.networks, "other": network("other", "vae_decoder", lora(SD15, "v", 1.0))},
        parameters={**whole.parameters, "21.f": replace(whole.parameters["6.text"], name="21.f")},
    )
    after, changes = applied(prune_steps, before)
    assert after == whole
    assert changes == [
        "20.decode_latent: no step uses what it makes",
        "21.scale_image: no step uses what it makes",
        "other: no step calls this network",
        "21.f: no step takes this parameter",
    ]


def test_effects_are_never_pruned_or_merged() -> None:
    save: dict[str, OperandTree] = {"image_u8": Ref("1.image_u8"), "filename_prefix": Literal("x")}
    before = program(
        [
            step("load_image", {"file": Literal("a.png")}, "0.image", "0.mask"),
            step("load_image", {"file": Literal("a.png")}, "2.image", "2.mask"),
            step("image_to_u8", {"image": Ref("0.image")}, "1.image_u8"),
            step("save_image", save, "3.files"),
            step("save_image", save, "4.files"),
        ]
    )
    assert applied(prune_steps, before)[0] is before
    assert applied(dedupe_steps, before)[0] is before


def test_equal_steps_become_one_and_parameters_stay_apart() -> None:
    before = program(
        [
            step("encode_text", {"text": Literal("x")}, "1.embedding", "1.pooled", networks={"clip_l": "clip"}),
            step("encode_text", {"text": Literal("x")}, "2.embedding", "2.pooled", networks={"clip_l": "clip"}),
            step("encode_text", {"text": Param("3.text")}, "3.embedding", "3.pooled", networks={"clip_l": "clip"}),
            step("encode_text", {"text": Param("4.text")}, "4.embedding", "4.pooled", networks={"clip_l": "clip"}),
            step("project_context", {"embedding": Ref("1.embedding")}, "5.context", networks={"context": "u"}),
            step("project_context", {"embedding": Ref("2.embedding")}, "6.context", networks={"context": "u"}),
        ],
        [network("clip", "clip_l"), network("u", "unet_context")],
        n3__text="x",
        n4__text="x",
    )
    after, changes = applied(dedupe_steps, before)
    assert [s.id for s in after.steps] == ["1.encode_text", "3.encode_text", "4.encode_text", "5.project_context"]
    assert after.steps[0].nodes == ("1", "2")
    assert changes == ["2.encode_text: the same as 1.encode_text", "6.project_context: the same as 5.project_context"]


@pytest.mark.parametrize(("one", "two"), [(1, 1.0), (1, True), (0, False), ("1", 1), (None, "null"), ([1], [1.0])])
def test_values_that_python_calls_equal_are_not(one: Json, two: Json) -> None:
    before = program(
        [
            step("scale_image", {"image": Literal(0), "method": Literal("area"), "factor": Literal(one)}, "1.image"),
            step("scale_image", {"image": Literal(0), "method": Literal("area"), "factor": Literal(two)}, "2.image"),
        ]
    )
    assert applied(dedupe_steps, before)[0] is before


# --- fold -----------------------------------------------------------------------------------------------------------


def test_fold_marks_what_depends_on_defaults() -> None:
    machine = Machine()
    before, _ = applied(hoist, text_to_image())
    result = fold(before, Context(folder=machine.fold))
    after = result.value
    marked = {s.id: s.folded_when for s in after.steps if s.folded}
    assert marked == {
        "6.encode_text": ("6.text",),
        "7.encode_text": ("7.text",),
        "3.make_sigmas": ("3.steps",),
        "3.project_context": ("6.text",),
        "3.project_context.2": ("7.text",),
        "3.embed_time": ("3.steps",),
    }
    assert constants_needed(after) == machine.constants.keys()
    assert after.steps[0].folded == {"6.embedding": "folded/6.embedding"}  # nobody uses the pooled output
    assert Change("6.encode_text", "computed now, for the defaults of 6.text") in result.changes
    again = fold(after, Context(folder=machine.fold))
    assert (again.changes, again.value) == ((), after)


def test_folding_is_a_cache_of_defaults() -> None:
    machine = Machine()
    before = applied(hoist, text_to_image())[0]
    after = fold(before, Context(folder=machine.fold)).value
    for params in ({}, {"6.text": "a cat"}, {"7.text": "x", "3.steps": 5}, {"3.seed": 4, "5.width": 64}):
        assert machine.run(after, params) == Machine().run(before, params)
    machine.ran.clear()
    machine.run(after)
    assert not {"6.encode_text", "7.encode_text", "3.embed_time"} & set(machine.ran)


def test_frozen_values_become_constants_and_what_made_them_goes() -> None:
    machine = Machine()
    context = replace(frozen("6.text", "7.text"), folder=machine.fold)
    before = text_to_image()
    after = freeze(before, context).value
    after = fold(after, context).value
    after = prune_steps(after, context).value
    assert [s.op for s in after.steps[:3]] == ["empty_latent", "make_sigmas", "make_noise"]
    assert set(after.networks) == {"unet", "vae_decoder"}
    assert next(s.inputs["embedding"] for s in after.steps if s.op == "entry") == Const("folded/6.embedding")
    assert machine.run(after) == Machine().run(before)


def test_a_value_that_is_none_becomes_null() -> None:
    before = program(
        [
            step("encode_text", {"text": Literal("x")}, "1.embedding", "1.pooled", networks={"clip_l": "clip"}),
            step("save_latent", {"latent": Ref("1.embedding"), "filename_prefix": Ref("1.pooled")}, "2.files"),
        ],
        [network("clip", "clip_l")],
    )
    after = fold(before, Context(folder=Machine().fold)).value
    assert [s.op for s in after.steps] == ["save_latent"]
    assert after.steps[0].inputs == {"latent": Const("folded/1.embedding"), "filename_prefix": Literal(None)}


def test_nothing_is_folded_without_a_folder() -> None:
    before = text_to_image()
    assert applied(fold, before)[0] is before


# --- models ---------------------------------------------------------------------------------------------------------


def test_models_with_the_same_facts_share_a_schedule_and_unnamed_ones_go() -> None:
    """Two LoRA mixes of one file: the schedule is one, the networks stay apart."""

    def made(facts: dict[str, Json]) -> Program:
        steps = sampling("3", "6.embedding", "7.embedding", "5.latent")
        first, second = (replace(steps[0], id=f"{n}.make_sigmas", outputs=(f"{n}.sigmas",), model=n) for n in "ab")
        saved = (Ref("a.sigmas"), Ref("b.sigmas"))
        out = step("save_latent", {"latent": saved, "filename_prefix": Literal("x")}, "1.files")
        models = {n: ModelUse(n, lora(SD15, n, 1.0), facts=facts) for n in "abc"}
        return replace(program([first, second, out], n3__steps=20), models=models)

    after, changes = applied(dedupe_steps, made({"prediction": "eps"}))
    assert changes == ["b.make_sigmas: the same as a.make_sigmas"]
    after, changes = applied(prune_steps, after)
    assert changes == ["b: no step needs this model", "c: no step needs this model"]
    assert set(after.models) == {"a"}
    assert applied(dedupe_steps, before := made({}))[0] is before  # files that were not opened may differ
