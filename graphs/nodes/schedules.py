"""SIGMAS: schedules, and what is done to them."""

from __future__ import annotations

from graphs.definition import Builder, Lower
from graphs.node import Node
from graphs.operands import Literal
from graphs.rows import compiled, interpreted
from graphs.values import ModelValue


def _lower_basic(node: Node, b: Builder) -> None:
    """What KSampler makes of the same widgets, for a sampler that evaluates the model at the schedule's levels only."""
    inputs = {name: b.operand(name) for name in ("steps", "scheduler", "denoise")}
    model = b.model_use(b.take("model", ModelValue))
    (sigmas,) = b.emit("make_sigmas", {**inputs, "sampler_name": Literal("euler")}, model=model)
    b.output(0, sigmas)


def _of_model(name: str, *numbers: str) -> Lower:
    """An op that takes the node's numbers and the facts of its model."""

    def lower(node: Node, b: Builder) -> None:
        model = b.model_use(b.take("model", ModelValue))
        (sigmas,) = b.emit(name, {number: b.operand(number) for number in numbers}, model=model)
        b.output(0, sigmas)

    return lower


ROWS = (
    interpreted("AlignYourStepsScheduler", "runtime.ops.sigmas:align_your_steps", folds=True),
    compiled("BasicScheduler", _lower_basic),
    compiled("BetaSamplingScheduler", _of_model("beta_sigmas", "steps", "alpha", "beta")),
    interpreted("ExponentialScheduler", "runtime.ops.sigmas:exponential_sigmas", folds=True),
    interpreted("ExtendIntermediateSigmas", "runtime.ops.sigmas:extend_sigmas", folds=True),
    interpreted("FlipSigmas", "runtime.ops.sigmas:flip_sigmas", folds=True),
    interpreted("KarrasScheduler", "runtime.ops.sigmas:karras_sigmas", folds=True),
    interpreted("LaplaceScheduler", "runtime.ops.sigmas:laplace_sigmas", folds=True),
    interpreted("ManualSigmas", "runtime.ops.sigmas:manual_sigmas", folds=True),
    interpreted("PolyexponentialScheduler", "runtime.ops.sigmas:polyexponential_sigmas", folds=True),
    compiled("SDTurboScheduler", _of_model("turbo_sigmas", "steps", "denoise")),
    interpreted("SetFirstSigma", "runtime.ops.sigmas:set_first_sigma", folds=True),
    interpreted("SplitSigmas", "runtime.ops.sigmas:split_sigmas", folds=True),
    interpreted("SplitSigmasDenoise", "runtime.ops.sigmas:split_sigmas_by_share", folds=True),
    interpreted("VPScheduler", "runtime.ops.sigmas:vp_sigmas", folds=True),
)
