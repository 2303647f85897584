"""The ops that make what `sample` takes: places, spans, ControlNets, entries and guiders. They compute nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graphs.errors import RunError
from runtime.sampling.conditions import ALWAYS, Condition, Control, Guider, Patch, Place, Span, Text
from runtime.sampling.guiders import guider_def
from runtime.sampling.patches import known

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.context import OpContext

WHOLE = Place()
DEFAULT_AREA = "default"  # of set_cond_area: the mask weighs, and the whole latent is evaluated


def place(
    context: OpContext,
    area: tuple[float, float, float, float] | None = None,
    strength: float = 1.0,
    mask: Tensor | None = None,
    mask_strength: float = 1.0,
    set_cond_area: str = DEFAULT_AREA,
) -> Place:
    """area: height, width, y, x; attrs["shares"]: in shares of the picture, else in its pixels. set_cond_area "mask
    bounds" evaluates only the bounding box of the mask."""
    sides = None if area is None else (float(area[0]), float(area[1]), float(area[2]), float(area[3]))
    shares, bounds = bool(context.attrs.get("shares", False)), set_cond_area != DEFAULT_AREA
    return Place(sides, shares, float(strength), mask, float(mask_strength), bounds)


def span(context: OpContext, start: float, end: float) -> Span:
    """start, end: shares of the schedule that are done."""
    return Span(float(start), float(end))


def control(
    context: OpContext,
    hint: Tensor,
    strength: float,
    embedding: Tensor | None = None,
    vector: Tensor | None = None,
    span: Span = ALWAYS,
    context_kv: Tensor | None = None,
    time: tuple[Tensor, Tensor] | None = None,
) -> Control:
    """A ControlNet with the text of one entry. hint: (B, H, W, 3). attrs["averaged"]: see Control."""
    text = _text(context, embedding, context_kv, vector, time)
    return Control(context.module, hint, text, float(strength), span, bool(context.attrs.get("averaged", False)))


def entry(
    context: OpContext,
    embedding: Tensor | None = None,
    context_kv: Tensor | None = None,
    vector: Tensor | None = None,
    time: tuple[Tensor, Tensor] | None = None,
    concat: Tensor | None = None,
    place: Place = WHOLE,
    span: Span = ALWAYS,
    controls: tuple[Control, ...] = (),
) -> Condition:
    """One entry of a conditioning: embedding (1, T, C), or hoisted context_kv and time. controls: every ControlNet of
    the guider; attrs["acting"] names those that act on this entry, [index, shared] each."""
    acting = tuple((int(index), bool(shared)) for index, shared in context.attrs.get("acting", ()))
    return Condition(_text(context, embedding, context_kv, vector, time), concat, place, span, controls, acting)


def guide(
    context: OpContext,
    sides: Mapping[str, tuple[Condition, ...]],
    numbers: Mapping[str, float] | None = None,
    patches: Mapping[str, tuple[float, ...]] | None = None,
) -> Guider:
    """attrs: kind (runtime.sampling.guiders), patches (names in runtime.sampling.patches, operands under their
    positions), residuals (what the denoiser takes of ControlNets), guidance "joint" or "separate"."""
    attrs, operands = context.attrs, patches or {}
    joint = attrs.get("guidance", "separate")
    if joint not in ("joint", "separate"):
        raise RunError("unknown guidance", expected="joint or separate", got=repr(joint), hint="recompile")
    guider = Guider(
        kind=str(attrs["kind"]),
        sides=sides,
        numbers={name: float(number) for name, number in (numbers or {}).items()},
        patches=tuple(
            Patch(name, tuple(float(o) for o in operands.get(str(position), ())))
            for position, name in enumerate(attrs.get("patches", ()))
        ),
        modules=context.module,
        facts=context.model,
        residuals=tuple((int(channels), int(halvings)) for channels, halvings in attrs.get("residuals", ())),
        joint=joint == "joint",
    )
    guider_def(guider)
    known(guider.patches)
    return guider


def _text(
    context: OpContext,
    embedding: Tensor | None,
    projected: Tensor | None,
    vector: Tensor | None,
    time: tuple[Tensor, Tensor] | None,
) -> Text:
    """Hoisted, or not: nothing between."""
    if embedding is not None and projected is None and time is None:
        return Text(embedding, vector)
    if embedding is None and projected is not None and time is not None:
        return Text(projected, vector, time)
    raise RunError(
        "a conditioning entry is neither whole nor hoisted", where=f"node {context.node}",
        expected="embedding, or context_kv and time", hint="recompile",
    )  # fmt: skip
