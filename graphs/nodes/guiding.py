"""From a model and conditionings to a guider: the steps that every sampler node emits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphs.definition import Builder
from graphs.node import Json
from graphs.operands import Operand, OperandTree, Ref
from graphs.values import CondEntry, Conditioning, ControlUse, ModelValue, PlaceUse


def guider(
    b: Builder,
    model: ModelValue,
    kind: str,
    sides: Mapping[str, Conditioning],
    numbers: Mapping[str, Operand] | None = None,
    *,
    latent: Operand,
) -> Ref:
    """A step for each entry, what it is made of, and the guider itself. kind: see runtime.sampling.guiders. latent: the
    one to be sampled, whose size stands in the vector condition of some models."""
    controls, use = _controls(sides), b.model_use(model)
    inputs: dict[str, OperandTree] = {
        f"sides.{name}": tuple(
            _entry(b, entry, controls, _conditions(b, entry, name, latent, use)) for entry in conditioning.entries
        )
        for name, conditioning in sides.items()
    }
    inputs |= {f"numbers.{name}": number for name, number in (numbers or {}).items()}
    inputs |= {f"patches.{n}": patch.operands for n, patch in enumerate(model.patches) if patch.operands}
    attrs: dict[str, Json] = {"kind": kind}
    if model.patches:
        attrs["patches"] = [patch.name for patch in model.patches]
    denoiser = b.network("denoiser", model.weights)
    (made,) = b.emit("guide", inputs, attrs, {"denoiser": denoiser}, use)
    return made


def _controls(sides: Mapping[str, Conditioning]) -> tuple[ControlUse, ...]:
    """The ControlNets of all entries, each once."""
    uses = (replace(use, shared=False) for side in sides.values() for entry in side.entries for use in entry.controls)
    return tuple(dict.fromkeys(uses))


def _conditions(b: Builder, entry: CondEntry, side: str, latent: Operand, model: str) -> dict[str, OperandTree]:
    """Vector and further channels of an entry, as a model may take them: what this one does not take is removed when
    its file is open."""
    found: dict[str, OperandTree] = {}
    if entry.pooled is not None:
        inputs: dict[str, OperandTree] = {"pooled": entry.pooled, "latent": latent}
        if entry.sizes is not None:
            inputs["sizes"] = entry.sizes
        (found["vector"],) = b.emit("make_vector", inputs, {"side": side}, model=model)
    if entry.concat is not None:
        inputs = {"latent": latent, "image": entry.concat.image}
        if entry.concat.mask is not None:
            inputs["mask"] = entry.concat.mask
        (found["concat"],) = b.emit("make_concat", inputs, model=model)
    return found


def _entry(
    b: Builder, entry: CondEntry, controls: tuple[ControlUse, ...], conditions: Mapping[str, OperandTree]
) -> Ref:
    """controls: those of the guider. Each gets the text of this entry, whether it acts on it or not: where entries are
    matched with those of another side, which happens when sizes are known, it may come to act."""
    inputs: dict[str, OperandTree] = {"embedding": entry.embedding, **conditions}
    if (place := _place(b, entry.place)) is not None:
        inputs["place"] = place
    if entry.span is not None:
        inputs["span"] = _span(b, entry.span)
    if controls:
        inputs["controls"] = tuple(_control(b, use, entry.embedding, conditions) for use in controls)
    acting = [[controls.index(replace(use, shared=False)), use.shared] for use in entry.controls]
    (made,) = b.emit("entry", inputs, {"acting": acting} if acting else {})
    return made


def _place(b: Builder, use: PlaceUse) -> Ref | None:
    fields: dict[str, OperandTree | None] = {
        "area": use.area,
        "strength": use.strength,
        "mask": use.mask,
        "mask_strength": use.mask_strength,
        "set_cond_area": use.set_cond_area,
    }
    inputs = {name: value for name, value in fields.items() if value is not None}
    if not inputs:
        return None
    (made,) = b.emit("place", inputs, {"shares": True} if use.shares else {})
    return made


def _span(b: Builder, span: tuple[Operand, Operand]) -> Ref:
    (made,) = b.emit("span", {"start": span[0], "end": span[1]})
    return made


def _control(b: Builder, use: ControlUse, embedding: Operand, conditions: Mapping[str, OperandTree]) -> Ref:
    inputs: dict[str, OperandTree] = {"hint": use.hint, "strength": use.strength, "embedding": embedding}
    if "vector" in conditions:
        inputs["vector"] = conditions["vector"]
    if use.span is not None:
        inputs["span"] = _span(b, use.span)
    networks = {
        "controlnet": b.network("control", use.net.weights),
        "controlnet_hint": b.network("control_hint", use.net.weights),
    }
    (made,) = b.emit("control", inputs, {"averaged": True} if use.net.averaged else {}, networks)
    return made
