"""Every program pass: before, after, changes; a second run changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compiler.dump import program_text, weights_text
from compiler.options import CompileOptions
from compiler.passes.dedupe_steps import dedupe_steps
from compiler.passes.driver import Change, Context, PassFunction
from compiler.passes.fold import constants_needed, fold
from compiler.passes.forward_identity import forward_identity
from compiler.passes.freeze import freeze
from compiler.passes.fuse_decode import fuse_decode
from compiler.passes.fuse_guidance import fuse_guidance
from compiler.passes.hoist import hoist
from compiler.passes.prune_steps import prune_steps
from compiler.passes.share_networks import share_networks
from compiler.passes.verify import verify_program_step
from graphs.operands import Const, Literal, OperandTree, Param, Ref
from graphs.ops import OPS
from graphs.program import ModelUse, Parameter, Program, Step
from graphs.values import Merge, ModelFile
from tests.compiler.interpreter import Machine
from tests.compiler.programs import SD15, lora, network, program, sampling, step, text_to_image

Json = Any


def applied(run: PassFunction[Program], before: Program, context: Context | None = None) -> tuple[Program, list[str]]:
    """The program after the pass and its changes as text, after checking what holds for every pass."""
    context = context or Context()
    result = run(before, context)
    assert list(verify_program_step(before, result.value, OPS)) == []
    assert (result.value is before) == (not result.changes)
    again = run(result.value, context)
    assert again.changes == ()
    assert again.value is result.value
    return result.value, [f"{c.node}: {c.reason}" for c in result.changes]


def frozen(*names: str) -> Context:
    return Context(options=CompileOptions(freeze=names))


def lines(value: Program) -> list[str]:
    return program_text(value).splitlines()


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


# --- fuse_decode, fuse_guidance, hoist ------------------------------------------------------------------------------


def test_decode_and_conversion_become_one() -> None:
    after, changes = applied(fuse_decode, text_to_image())
    assert [s.op for s in after.steps][-2:] == ["decode_latent_u8", "save_image"]
    fused = after.steps[-2]
    assert (fused.id, fused.outputs, fused.nodes) == ("8.decode_latent", ("9.image_u8",), ("8", "9"))
    assert fused.networks == {"vae_decoder_u8": "vae_decoder_u8"}
    assert set(after.networks) == {"clip", "unet", "vae_decoder_u8"}
    assert after.networks["vae_decoder_u8"].kind == "vae_decoder_u8"
    assert changes == ["8.decode_latent: decodes to 8 bits in one step with 9.image_to_u8"]


def test_a_float_image_with_another_user_stays() -> None:
    before = text_to_image(preview=True)
    assert applied(fuse_decode, before)[0] is before
    merged, _ = applied(dedupe_steps, before)  # the two conversions are one
    assert [s.op for s in applied(fuse_decode, merged)[0].steps][-3:] == [
        "decode_latent_u8",
        "save_image",
        "preview_image",
    ]


def test_two_decodes_share_the_fused_network_and_the_plain_one_stays_where_it_is_needed() -> None:
    one = text_to_image()
    more = [
        step("decode_latent", {"latent": Ref("5.latent")}, "18.image", networks={"vae_decoder": "vae_decoder"}),
        step("image_to_u8", {"image": Ref("18.image")}, "19.image_u8"),
        step("preview_image", {"image_u8": Ref("19.image_u8")}, "19.files"),
        step("decode_latent", {"latent": Ref("3.latent")}, "28.image", networks={"vae_decoder": "vae_decoder"}),
        step("encode_image", {"image": Ref("28.image")}, "29.latent", networks={"vae_encoder": "vae_decoder"}),
        step("save_latent", {"latent": Ref("29.latent"), "filename_prefix": Literal("l")}, "30.files"),
    ]
    after, changes = applied(fuse_decode, one.with_steps((*one.steps, *more)))
    assert [n.kind for n in after.networks.values()] == ["clip_l", "unet", "vae_decoder", "vae_decoder_u8"]
    assert len(changes) == 2


def only(program: Program, op: str) -> Step:
    (found,) = (step for step in program.steps if step.op == op)
    return found


def placed(**place: OperandTree) -> Program:
    """The default workflow with an entry that counts in some place only."""
    whole = text_to_image()
    steps = [replace(s, inputs={**s.inputs, "place": Ref("6.place")}) if s.id == "3.entry" else s for s in whole.steps]
    return whole.with_steps((step("place", place, "6.place"), *steps))


def test_guidance_goes_in_one_batch_unless_an_entry_sees_less() -> None:
    after, changes = applied(fuse_guidance, text_to_image())
    assert only(after, "guide").attrs["guidance"] == "joint"
    assert changes == ["3.guide: its 2 conditioning entries go through the network in one batch"]
    area = (Literal(64), Literal(64), Literal(0), Literal(0))
    for before in (placed(area=area), placed(mask=Literal("m"), strength=Literal(1.0))):
        assert applied(fuse_guidance, before)[0] is before
    assert applied(fuse_guidance, placed(strength=Literal(0.5)))[1] == changes


def controlled() -> Program:
    """The default workflow with two ControlNets on both sides, the second of the same file as the first."""
    whole = text_to_image()
    steps = []
    for s in whole.steps:
        if s.op == "entry":
            names = [f"{s.id}.control.{n}" for n in range(2)]
            strengths: tuple[OperandTree, ...] = (Literal(1.0), Param("9.strength"))
            for name, strength in zip(names, strengths, strict=True):
                text: OperandTree = s.inputs["embedding"]
                inputs: dict[str, OperandTree] = {"hint": Literal("a"), "strength": strength, "embedding": text}
                nets = {"controlnet": "c", "controlnet_hint": "h"}
                steps.append(step("control", inputs, name, networks=nets, step_id=name))
            s = replace(s, inputs={**s.inputs, "controls": tuple(Ref(name) for name in names)})
            s = replace(s, attrs={"acting": [[0, False], [1, False]]})
        steps.append(replace(s, networks={"denoiser": "unet_control"}) if s.op == "guide" else s)
    control = ModelFile("controlnet", "c.safetensors")
    added = (
        network("unet_control", "unet_control"), network("c", "controlnet", control),
        network("h", "controlnet_hint", control),
    )  # fmt: skip
    networks = {n.id: n for n in (*whole.networks.values(), *added) if n.id != "unet"}
    parameters = {**whole.parameters, "9.strength": Parameter("9.strength", "FLOAT", 0.5)}
    return replace(whole.with_steps(tuple(steps)), parameters=parameters, networks=networks)


def test_hoist_takes_the_texts_and_times_of_control_nets_too() -> None:
    before = controlled()
    after, _ = applied(hoist, before)
    kinds = {role: after.networks[name].kind for role, name in only(after, "guide").networks.items()}
    assert kinds == {"denoiser": "unet_core_control", "denoiser_time": "unet_time"}
    controls = [s for s in after.steps if s.op == "control"]
    assert len(controls) == 4
    for control in controls:
        kinds = {role: after.networks[name].kind for role, name in control.networks.items()}
        assert kinds == {
            "controlnet": "controlnet_core", "controlnet_hint": "controlnet_hint", "controlnet_time": "controlnet_time",
        }  # fmt: skip
        assert list(control.inputs) == ["hint", "strength", "context_kv", "time"]
    made = [after.networks[next(iter(s.networks.values()))].kind for s in after.steps if s.op == "project_context"]
    # of the U-Net and of the ControlNet that acts twice, once for each text
    assert sorted(made) == ["controlnet_context"] * 2 + ["unet_context"] * 2
    assert sum(s.op == "embed_time" for s in after.steps) == 2
    assert not {"unet_control", "c"} & after.networks.keys()
    assert Machine().run(after) == Machine().run(before)


def test_control_nets_are_no_obstacle_to_one_batch() -> None:
    after, _ = applied(fuse_guidance, controlled())
    assert only(after, "guide").attrs["guidance"] == "joint"


def test_hoist_takes_context_and_time_out_of_the_loop() -> None:
    before = text_to_image()
    after, changes = applied(hoist, before)
    assert [s.op for s in after.steps[3:-3]] == [
        "make_sigmas", "make_noise", "sampler", "project_context", "embed_time", "entry", "project_context", "entry",
        "guide", "sample",
    ]  # fmt: skip
    first, time, positive, second, negative, guide, _ = after.steps[6:13]
    assert (first.outputs, first.inputs) == (("3.context",), {"embedding": Ref("6.embedding")})
    assert (second.outputs, second.networks) == (("3.context.2",), {"context": "unet_context"})
    assert (time.outputs, time.inputs, time.model) == (("3.timesteps", "3.time"), {"sigmas": Ref("3.sigmas")}, "model")
    assert guide.networks == {"denoiser": "unet_core", "denoiser_time": "unet_time"}
    times = (Ref("3.timesteps"), Ref("3.time"))
    assert (positive.id, positive.inputs) == ("3.entry", {"context_kv": Ref("3.context"), "time": times})
    assert (negative.id, negative.inputs) == ("3.entry.2", {"context_kv": Ref("3.context.2"), "time": times})
    kinds = {n.id: n.kind for n in after.networks.values()}
    assert kinds == {
        "clip": "clip_l",
        "vae_decoder": "vae_decoder",
        "unet_core": "unet_core",
        "unet_context": "unet_context",
        "unet_time": "unet_time",
    }
    assert len(changes) == 1
    assert Machine().run(after) == Machine().run(before)


def test_a_vector_condition_goes_into_the_time_embedding_of_its_entry() -> None:
    whole = text_to_image()
    steps = [replace(s, inputs={**s.inputs, "vector": Literal(s.id)}) if s.op == "entry" else s for s in whole.steps]
    before = whole.with_steps(tuple(steps))
    after, _ = applied(hoist, before)
    times = [s for s in after.steps if s.op == "embed_time"]
    assert [s.inputs["vector"] for s in times] == [Literal("3.entry"), Literal("3.entry.2")]
    assert all("vector" in s.inputs for s in after.steps if s.op == "entry"), "for sigmas off the schedule"
    assert Machine().run(after) == Machine().run(before)


def test_one_guider_over_two_schedules_is_made_for_each() -> None:
    whole = text_to_image()
    sample = only(whole, "sample")
    sigmas = replace(whole.steps[3], id="13.make_sigmas", outputs=("13.sigmas",), nodes=("13",))
    inputs = {**sample.inputs, "latent": Ref("3.latent"), "sigmas": Ref("13.sigmas")}
    second = replace(sample, id="13.sample", outputs=("13.latent",), inputs=inputs, nodes=("13",))
    decode, *rest = whole.steps[-3:]
    decode = replace(decode, inputs={"latent": Ref("13.latent")})
    before = whole.with_steps((*whole.steps[:-3], sigmas, second, decode, *rest))
    after, changes = applied(hoist, before)
    assert len(changes) == 2
    ops = [s.op for s in after.steps]
    assert [ops.count(op) for op in ("guide", "entry", "embed_time", "project_context")] == [2, 4, 2, 2]
    assert Machine().run(after) == Machine().run(before)


def test_a_guider_that_is_used_otherwise_stays() -> None:
    whole = text_to_image()
    peek = step("preview_image", {"image_u8": Ref("3.guider")}, "20.files")
    before = whole.with_steps((*whole.steps, peek))
    after, _ = applied(hoist, before)
    assert [s.id for s in after.steps if s.op == "guide"] == ["3.guide", "3.guide.2"]
    assert Machine().run(after) == Machine().run(before)


def test_samples_share_what_was_hoisted() -> None:
    one = text_to_image()
    second = sampling("13", "6.embedding", "6.embedding", "3.latent", "unet")[1:]
    second[-1] = replace(second[-1], inputs={**second[-1].inputs, "sigmas": Ref("3.sigmas")})
    other = sampling("23", "6.embedding", "7.embedding", "13.latent", "unet.2")
    steps = (*one.steps[:-3], *second, *other, *one.steps[-3:])
    parameters = {n: replace(one.parameters["3.seed"], name=n) for n in ("13.seed", "23.steps", "23.seed")}
    networks = {**one.networks, "unet.2": network("unet.2", "unet", lora(SD15, "a", 1.0))}
    before = replace(one.with_steps(steps), parameters={**one.parameters, **parameters}, networks=networks)
    after, changes = applied(hoist, before)
    ops = [s.op for s in after.steps]
    assert (ops.count("project_context"), ops.count("embed_time")) == (4, 2)
    entries = [s for s in after.steps if s.op == "entry"]
    assert entries[2].inputs["context_kv"] == Ref("3.context")
    assert "an earlier one's steps" in changes[1]
    assert after.networks["unet_core.2"].weights == lora(SD15, "a", 1.0)
    assert Machine().run(after) == Machine().run(before)


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
