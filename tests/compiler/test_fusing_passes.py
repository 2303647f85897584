"""The passes that make one step of several, or take work out of the loop: before, after, changes."""

from __future__ import annotations

from dataclasses import replace

from compiler.passes.dedupe_steps import dedupe_steps
from compiler.passes.fuse_decode import fuse_decode
from compiler.passes.fuse_guidance import fuse_guidance
from compiler.passes.hoist import hoist
from graphs.operands import Literal, OperandTree, Param, Ref
from graphs.program import Parameter, Program, Step
from graphs.values import ModelFile
from tests.compiler.applied import applied
from tests.compiler.interpreter import Machine
from tests.compiler.programs import SD15, lora, network, sampling, step, text_to_image


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
    outputs = ("13.latent", "13.denoised")
    second = replace(sample, id="13.sample", outputs=outputs, inputs=inputs, nodes=("13",))
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
