"""ControlNets: loaded, and applied to conditionings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphs.definition import Builder, NodeDef
from graphs.node import COMBO, Input, Json, Node, Output
from graphs.operands import Literal, Operand, OperandTree
from graphs.values import Conditioning, ControlNetValue, ControlUse, ModelFile

# What the name of a file ends in, before its suffix, whose residuals are averaged over the picture, as ComfyUI has it.
AVERAGED = ("_shuffle", "_shuffle_fp16")


def _lower_loader(node: Node, b: Builder) -> None:
    name = str(b.constant("control_net_name"))
    averaged = name.rpartition(".")[0].endswith(AVERAGED)
    b.output(0, ControlNetValue(ModelFile("controlnet", name), averaged))


CONTROL_NET_LOADER = NodeDef(
    class_type="ControlNetLoader",
    display_name="Load ControlNet Model",
    category="loaders",
    inputs=(Input("control_net_name", COMBO, folder="controlnet"),),
    outputs=(Output("CONTROL_NET", "CONTROL_NET"),),
    lower=_lower_loader,
)


def _with_control(conditioning: Conditioning, use: ControlUse) -> Conditioning:
    return Conditioning(tuple(replace(e, controls=(*e.controls, use)) for e in conditioning.entries))


def _lower_apply(node: Node, b: Builder) -> None:
    start, end = Literal(0.0), Literal(1.0)
    use = ControlUse(b.control_net(), b.operand("image"), b.operand("strength"), start, end, shared=True)
    b.output(0, _with_control(b.conditioning("conditioning"), use))


CONTROL_NET_APPLY = NodeDef(
    class_type="ControlNetApply",
    display_name="Apply ControlNet (OLD)",
    category="conditioning/controlnet",
    inputs=(
        Input("conditioning", "CONDITIONING"),
        Input("control_net", "CONTROL_NET"),
        Input("image", "IMAGE"),
        Input("strength", "FLOAT", default=1.0, min=0.0, max=10.0, step=0.01),
    ),
    outputs=(Output("CONDITIONING", "CONDITIONING"),),
    lower=_lower_apply,
    deprecated=True,
)


def _lower_apply_advanced(node: Node, b: Builder) -> None:
    # The vae is for ControlNets that see latents. None of those that are compiled does, and ComfyUI ignores it then.
    strength, start, end = (b.operand(name) for name in ("strength", "start_percent", "end_percent"))
    use = ControlUse(b.control_net(), b.operand("image"), strength, start, end)
    b.output(0, _with_control(b.conditioning("positive"), use))
    b.output(1, _with_control(b.conditioning("negative"), use))


CONTROL_NET_APPLY_ADVANCED = NodeDef(
    class_type="ControlNetApplyAdvanced",
    display_name="Apply ControlNet",
    category="conditioning/controlnet",
    inputs=(
        Input("positive", "CONDITIONING"),
        Input("negative", "CONDITIONING"),
        Input("control_net", "CONTROL_NET"),
        Input("image", "IMAGE"),
        Input("strength", "FLOAT", default=1.0, min=0.0, max=10.0, step=0.01),
        Input("start_percent", "FLOAT", default=0.0, min=0.0, max=1.0, step=0.001),
        Input("end_percent", "FLOAT", default=1.0, min=0.0, max=1.0, step=0.001),
        Input("vae", "VAE", required=False),
    ),
    outputs=(Output("positive", "CONDITIONING"), Output("negative", "CONDITIONING")),
    lower=_lower_apply_advanced,
)


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
