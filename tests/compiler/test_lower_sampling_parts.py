"""Sampling that a workflow puts together itself: noise, guider, sampler and sigmas as nodes of their own."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.lowering.lower import lower
from graphs.errors import WorkflowError
from graphs.operands import Literal, Param, Ref
from graphs.program import Program, Step
from graphs.workflow import parse_api

PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "1": ("CheckpointLoaderSimple", {"ckpt_name": "sd15.safetensors"}),
    "2": ("CLIPTextEncode", {"text": "a fox", "clip": ["1", 1]}),
    "3": ("CLIPTextEncode", {"text": "bad", "clip": ["1", 1]}),
    "4": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
    "5": ("RandomNoise", {"noise_seed": 7}),
    "6": ("CFGGuider", {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "cfg": 6.0}),
    "7": ("KSamplerSelect", {"sampler_name": "euler"}),
    "8": ("BasicScheduler", {"model": ["1", 0], "scheduler": "simple", "steps": 4, "denoise": 1.0}),
    "9": (
        "SamplerCustomAdvanced",
        {"noise": ["5", 0], "guider": ["6", 0], "sampler": ["7", 0], "sigmas": ["8", 0], "latent_image": ["4", 0]},
    ),
    "10": ("SaveLatent", {"samples": ["9", 0], "filename_prefix": "x"}),
}


def lowered(**changed: tuple[str, dict[str, Any]]) -> Program:
    nodes = {**PARTS, **{name.lstrip("n"): node for name, node in changed.items()}}
    return lower(parse_api({name: {"class_type": c, "inputs": inputs} for name, (c, inputs) in nodes.items()}))


def only(program: Program, op: str) -> Step:
    (step,) = [step for step in program.steps if step.op == op]
    return step


def test_parts_become_the_steps_that_one_node_gives() -> None:
    program = lowered()
    sample = only(program, "sample")
    assert sample.inputs == {
        "latent": Ref("4.latent"), "noise": Ref("9.noise"), "sigmas": Ref("8.sigmas"), "sampler": Ref("7.sampler"),
        "guider": Ref("9.guider"),
    }  # fmt: skip
    assert sample.outputs == ("9.latent", "9.denoised")
    guide = only(program, "guide")
    assert guide.attrs["kind"] == "cfg"
    assert guide.inputs["numbers.cfg"] == Param("6.cfg")
    assert only(program, "make_noise").inputs["seed"] == Param("5.noise_seed")


def test_what_is_denoised_is_the_second_output() -> None:
    program = lowered(n10=("SaveLatent", {"samples": ["9", 1], "filename_prefix": "x"}))
    assert only(program, "save_latent").inputs["latent"] == Ref("9.denoised")


def test_no_noise_starts_from_none_with_seed_zero() -> None:
    noise = only(lowered(n5=("DisableNoise", {})), "make_noise")
    assert noise.inputs["seed"] == Literal(0)
    assert noise.inputs["add_noise"] == Literal(False)


GUIDERS: dict[str, tuple[tuple[str, dict[str, Any]], list[str], list[str]]] = {
    "basic": (("BasicGuider", {"model": ["1", 0], "conditioning": ["2", 0]}), ["positive"], []),
    "dual": (
        ("DualCFGGuider", {"model": ["1", 0], "cond1": ["2", 0], "cond2": ["3", 0], "negative": ["3", 0],
                           "cfg_conds": 6.0, "cfg_cond2_negative": 3.0, "style": "regular"}),
        ["positive", "middle", "negative"], ["cfg", "cfg_negative"],
    ),
    "perp_neg": (
        ("PerpNegGuider", {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "cfg": 6.0,
                           "empty_conditioning": ["3", 0], "neg_scale": 1.0}),
        ["positive", "negative", "empty"], ["cfg", "neg_scale"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", GUIDERS)
def test_guiders_have_their_sides_and_numbers(kind: str) -> None:
    node, sides, numbers = GUIDERS[kind]
    guide = only(lowered(n6=node), "guide")
    assert guide.attrs["kind"] == kind
    assert [name.removeprefix("sides.") for name in guide.inputs if name.startswith("sides.")] == sides
    assert [name.removeprefix("numbers.") for name in guide.inputs if name.startswith("numbers.")] == numbers


def test_the_nested_style_is_a_kind_of_its_own() -> None:
    node, inputs = GUIDERS["dual"][0]
    assert only(lowered(n6=(node, {**inputs, "style": "nested"})), "guide").attrs["kind"] == "dual_nested"


def test_settings_of_a_sampler_are_parameters() -> None:
    step = only(lowered(n7=("SamplerEulerAncestral", {"eta": 0.5, "s_noise": 1.1})), "sampler")
    assert step.inputs == {
        "name": Literal("euler_ancestral"), "numbers.eta": Param("7.eta"), "numbers.s_noise": Param("7.s_noise")
    }


def test_the_solver_of_er_sde_is_its_noise_scale() -> None:
    def numbers(solver: str, eta: float) -> dict[str, object]:
        node = ("SamplerER_SDE", {"solver_type": solver, "max_stage": 3, "eta": eta, "s_noise": 1.0})
        inputs = only(lowered(n7=node), "sampler").inputs
        return {name.removeprefix("numbers."): value for name, value in inputs.items() if name.startswith("numbers.")}

    assert "power" not in numbers("ER-SDE", 1.0)
    assert numbers("Reverse-time SDE", 1.0)["power"] == Literal(2.0)
    assert numbers("ODE", 1.0)["power"] == Literal(1.0)
    assert numbers("ODE", 1.0)["s_noise"] == Literal(0.0)


def test_a_version_that_is_not_compiled_is_named() -> None:
    with pytest.raises(WorkflowError, match="version of the sampler"):
        lowered(n7=("SamplerEulerCFGpp", {"version": "alternative"}))


def test_a_split_schedule_runs_over_its_part() -> None:
    more = {"n11": ("SplitSigmas", {"sigmas": ["8", 0], "step": 2})}
    sampler = ("SamplerCustomAdvanced", {**PARTS["9"][1], "sigmas": ["11", 1]})
    program = lowered(**more, n9=sampler)
    assert only(program, "sample").inputs["sigmas"] == Ref("11.low_sigmas")
    assert only(program, "split_sigmas").inputs == {"sigmas": Ref("8.sigmas"), "step": Param("11.step")}
