"""What conditioning and patch nodes become: entries whose every number is a parameter of the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compiler.lowering.lower import lower
from graphs.errors import WorkflowError
from graphs.nodes import NODES
from graphs.operands import Param, Ref
from graphs.program import Program, Step
from graphs.workflow import parse_api


def lowered(*, model: list[Any] | None = None, positive: list[Any] | None = None, **more: Any) -> Program:
    """The default workflow with more nodes between it and its sampler: name -> (class_type, inputs)."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "4": ("CheckpointLoaderSimple", {"ckpt_name": "sd15.safetensors"}),
        "5": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        "6": ("CLIPTextEncode", {"text": "a fox", "clip": ["4", 1]}),
        "7": ("CLIPTextEncode", {"text": "bad", "clip": ["4", 1]}),
        "3": (
            "KSampler",
            {
                "seed": 1, "steps": 2, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                "model": model or ["4", 0], "positive": positive or ["6", 0], "negative": ["7", 0],
                "latent_image": ["5", 0],
            },
        ),
        "9": ("SaveLatent", {"samples": ["3", 0], "filename_prefix": "x"}),
        **more,
    }  # fmt: skip
    return lower(parse_api({name: {"class_type": c, "inputs": inputs} for name, (c, inputs) in nodes.items()}))


def steps(program: Program, op: str) -> list[Step]:
    return [step for step in program.steps if step.op == op]


def params(*names: str) -> tuple[Param, ...]:
    return tuple(Param(f"8.{name}") for name in names)


def test_an_area_with_its_strength_is_a_place_of_parameters() -> None:
    area = {"conditioning": ["6", 0], "width": 64, "height": 32, "x": 8, "y": 16, "strength": 0.5}
    for class_type, attrs in (("ConditioningSetArea", {}), ("ConditioningSetAreaPercentage", {"shares": True})):
        program = lowered(**{"8": (class_type, area)}, positive=["8", 0])  # type: ignore[arg-type]
        (place,) = steps(program, "place")
        (strength,) = params("strength")
        assert place.inputs == {"area": params("height", "width", "y", "x"), "strength": strength}
        assert place.attrs == attrs
        assert [step.inputs.get("place") for step in steps(program, "entry")] == [Ref("3.place"), None]


def test_masks_and_areas_of_one_entry_are_one_place() -> None:
    mask = {"conditioning": ["6", 0], "mask": ["2", 0], "strength": 0.5, "set_cond_area": "mask bounds"}
    area = {"conditioning": ["10", 0], "width": 64, "height": 32, "x": 8, "y": 16, "strength": 1.0}
    more = {
        "2": ("SolidMask", {"value": 1.0, "width": 64, "height": 64}),
        "10": ("ConditioningSetMask", mask),
        "8": ("ConditioningSetArea", area),
    }
    (place,) = steps(lowered(**more, positive=["10", 0]), "place")  # type: ignore[arg-type]
    assert list(place.inputs) == ["mask", "mask_strength", "set_cond_area"]
    (place,) = steps(lowered(**more, positive=["8", 0]), "place")  # type: ignore[arg-type]
    assert list(place.inputs) == ["area", "strength", "mask", "mask_strength"], "an area takes the place of the bounds"


def test_a_range_is_a_span() -> None:
    more = {"8": ("ConditioningSetTimestepRange", {"conditioning": ["6", 0], "start": 0.2, "end": 0.7})}
    (span,) = steps(lowered(**more, positive=["8", 0]), "span")  # type: ignore[arg-type]
    assert tuple(span.inputs.values()) == params("start", "end")


def test_combined_conditionings_are_two_entries_of_one_side() -> None:
    more = {"8": ("ConditioningCombine", {"conditioning_1": ["6", 0], "conditioning_2": ["7", 0]})}
    (guide,) = steps(lowered(**more, positive=["8", 0]), "guide")  # type: ignore[arg-type]
    assert [len(guide.inputs[f"sides.{name}"]) for name in ("positive", "negative")] == [2, 1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("class_type", "more", "op", "times"),
    [
        ("ConditioningConcat", {"conditioning_from": ["7", 0]}, "join_texts", 1),
        ("ConditioningAverage", {"conditioning_from": ["7", 0], "conditioning_to_strength": 0.3}, "average_texts", 2),
        ("ConditioningZeroOut", {}, "zero_text", 2),
    ],
)
def test_texts_are_joined_and_mixed_by_ops(class_type: str, more: dict[str, Any], op: str, times: int) -> None:
    to = "conditioning" if class_type == "ConditioningZeroOut" else "conditioning_to"
    program = lowered(**{"8": (class_type, {to: ["6", 0], **more})}, positive=["8", 0])  # type: ignore[arg-type]
    made = steps(program, op)
    assert len(made) == times, "the embedding, and the pooled text where that is mixed too"
    assert steps(program, "entry")[0].inputs["embedding"] == Ref(made[0].outputs[0])


def test_patches_are_a_chain_in_the_order_of_the_nodes() -> None:
    more = {
        "8": ("RescaleCFG", {"model": ["4", 0], "multiplier": 0.7}),
        "10": ("CFGZeroStar", {"model": ["8", 0]}),
        "11": ("DifferentialDiffusion", {"model": ["10", 0], "strength": 0.9}),
    }
    (guide,) = steps(lowered(**more, model=["11", 0]), "guide")  # type: ignore[arg-type]
    assert guide.attrs["patches"] == ["rescale_cfg", "cfg_zero_star", "differential_diffusion"]
    assert guide.inputs["patches.0"] == params("multiplier")
    assert guide.inputs["patches.2"] == (Param("11.strength"),)


@pytest.mark.parametrize(
    ("class_type", "inputs", "overrides"),
    [
        ("ModelSamplingDiscrete", {"sampling": "v_prediction", "zsnr": True},
         {"prediction": "v", "schedule": {"zero_terminal_snr": True}}),
        ("ModelSamplingContinuousEDM", {"sampling": "edm", "sigma_max": 80.0, "sigma_min": 0.01},
         {"prediction": "edm", "schedule": {"kind": "edm", "sigma_min": 0.01, "sigma_max": 80.0, "sigma_data": 0.5}}),
    ],
)  # fmt: skip
def test_what_a_model_was_trained_for_is_a_fact(
    class_type: str, inputs: dict[str, Any], overrides: dict[str, Any]
) -> None:
    program = lowered(**{"8": (class_type, {"model": ["4", 0], **inputs})}, model=["8", 0])  # type: ignore[arg-type]
    assert {step.model for step in program.steps if step.op in ("make_sigmas", "guide")} == {"model"}
    assert program.models["model"].overrides == overrides


def test_a_kind_of_sampling_that_is_not_compiled_is_refused() -> None:
    inputs = {"model": ["4", 0], "sampling": "cosmos_rflow", "sigma_max": 80.0, "sigma_min": 0.01}
    with pytest.raises(WorkflowError, match="cannot be compiled"):
        lowered(**{"8": ("ModelSamplingContinuousEDM", inputs)}, model=["8", 0])  # type: ignore[arg-type]


def test_sigmas_name_their_model_when_they_are_emitted() -> None:
    """So nobody has to find it by walking back from the sample: steps that split or flip them may stand between."""
    program = lowered()
    (maker,) = steps(program, "make_sigmas")
    facts = {"schedule": {"kind": "scaled_linear"}}
    opened = replace(program, models={name: replace(use, facts=facts) for name, use in program.models.items()})
    assert opened.facts_of(maker) == facts


def test_the_classes_are_in_the_table() -> None:
    assert {"ConditioningSetMask", "ConditioningZeroOut", "RescaleCFG", "ModelSamplingDiscrete"} <= set(NODES)
