"""ControlNets: loaded, and applied to conditionings."""

from __future__ import annotations

from dataclasses import replace

from graphs.definition import Builder
from graphs.node import Node
from graphs.rows import compiled
from graphs.values import Conditioning, ControlNetValue, ControlUse, ModelFile

# ControlNets whose file name (without suffix) ends in one of these have their residuals averaged, as in ComfyUI.
AVERAGED = ("_shuffle", "_shuffle_fp16")


def _lower_loader(node: Node, b: Builder) -> None:
    name = str(b.constant("control_net_name"))
    averaged = name.rpartition(".")[0].endswith(AVERAGED)
    b.output(0, ControlNetValue(ModelFile("controlnet", name), averaged))


def _with_control(conditioning: Conditioning, use: ControlUse) -> Conditioning:
    return Conditioning(tuple(replace(e, controls=(*e.controls, use)) for e in conditioning.entries))


def _lower_apply(node: Node, b: Builder) -> None:
    net = b.take("control_net", ControlNetValue)
    use = ControlUse(net, b.operand("image"), b.operand("strength"), shared=True)
    b.output(0, _with_control(b.take("conditioning", Conditioning), use))


def _lower_apply_advanced(node: Node, b: Builder) -> None:
    # The vae is for ControlNets that see latents. None of those that are compiled does, and ComfyUI ignores it then.
    strength, start, end = (b.operand(name) for name in ("strength", "start_percent", "end_percent"))
    use = ControlUse(b.take("control_net", ControlNetValue), b.operand("image"), strength, (start, end))
    b.output(0, _with_control(b.take("positive", Conditioning), use))
    b.output(1, _with_control(b.take("negative", Conditioning), use))


ROWS = (
    compiled("ControlNetApply", _lower_apply),
    compiled("ControlNetApplyAdvanced", _lower_apply_advanced),
    compiled("ControlNetLoader", _lower_loader),
)
