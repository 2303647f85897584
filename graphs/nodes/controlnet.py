"""ControlNets: loaded, and applied to conditionings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphs.definition import Builder
from graphs.node import Json, Node
from graphs.operands import Literal, Operand, OperandTree
from graphs.rows import compiled
from graphs.values import Conditioning, ControlNetValue, ControlUse, ModelFile

# What the name of a file ends in, before its suffix, whose residuals are averaged over the picture, as ComfyUI has it.
AVERAGED = ("_shuffle", "_shuffle_fp16")


def _lower_loader(node: Node, b: Builder) -> None:
    name = str(b.constant("control_net_name"))
    averaged = name.rpartition(".")[0].endswith(AVERAGED)
    b.output(0, ControlNetValue(ModelFile("controlnet", name), averaged))


def _with_control(conditioning: Conditioning, use: ControlUse) -> Conditioning:
    return Conditioning(tuple(replace(e, controls=(*e.controls, use)) for e in conditioning.entries))


def _lower_apply(node: Node, b: Builder) -> None:
    start, end = Literal(0.0), Literal(1.0)
    net = b.take("control_net", ControlNetValue)
    use = ControlUse(net, b.operand("image"), b.operand("strength"), start, end, shared=True)
    b.output(0, _with_control(b.take("conditioning", Conditioning), use))


def _lower_apply_advanced(node: Node, b: Builder) -> None:
    # The vae is for ControlNets that see latents. None of those that are compiled does, and ComfyUI ignores it then.
    strength, start, end = (b.operand(name) for name in ("strength", "start_percent", "end_percent"))
    use = ControlUse(b.take("control_net", ControlNetValue), b.operand("image"), strength, start, end)
    b.output(0, _with_control(b.take("positive", Conditioning), use))
    b.output(1, _with_control(b.take("negative", Conditioning), use))


# --- what a sample step takes of them


@dataclass(frozen=True)
class ControlParts:
    """The ControlNets of a sample step, each once: inputs, attrs and networks of the step, and by side the option
    "controls" of every entry. All empty where there are none."""

    inputs: Mapping[str, OperandTree]
    attrs: Mapping[str, Json]
    networks: Mapping[str, str]
    placed: Mapping[str, list[list[Json]]]


def control_parts(b: Builder, **sides: Conditioning) -> ControlParts:
    """sides: by name, "positive" and "negative"."""
    uses: list[ControlUse] = []
    placed: dict[str, list[list[Json]]] = {}
    for side, conditioning in sides.items():
        placed[side] = [[_place(uses, use) for use in entry.controls] for entry in conditioning.entries]
    if not uses:
        return ControlParts({}, {}, {}, {})
    fields: dict[str, tuple[Operand, ...]] = {
        "control_hints": tuple(use.hint for use in uses),
        "control_strengths": tuple(use.strength for use in uses),
        "control_starts": tuple(use.start_percent for use in uses),
        "control_ends": tuple(use.end_percent for use in uses),
    }
    networks: dict[str, str] = {}
    for index, use in enumerate(uses):
        for kind in ("controlnet", "controlnet_hint"):
            networks[f"{kind}.{index}"] = b.network(kind, use.net.weights)
    return ControlParts(fields, {"controls": [{"averaged": use.net.averaged} for use in uses]}, networks, placed)


def _place(uses: list[ControlUse], use: ControlUse) -> list[Json]:
    """[index, shared]: where the use stands among those of the step, which it joins if it is new."""
    alike = replace(use, shared=False)
    if alike not in uses:
        uses.append(alike)
    return [uses.index(alike), use.shared]


ROWS = (
    compiled("ControlNetApply", _lower_apply),
    compiled("ControlNetApplyAdvanced", _lower_apply_advanced),
    compiled("ControlNetLoader", _lower_loader),
)
