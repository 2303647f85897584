"""Conditionings: joined, mixed, and where and when they count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphs.definition import Builder
from graphs.node import Node
from graphs.operands import Operand, Ref
from graphs.rows import compiled
from graphs.values import CondEntry, Conditioning

AREA = ("height", "width", "y", "x")


def _each(b: Builder, name: str, change: Callable[[CondEntry], CondEntry]) -> None:
    entries = b.take(name, Conditioning).entries
    b.output(0, Conditioning(tuple(change(entry) for entry in entries)))


def _placed(b: Builder, **place: object) -> None:
    _each(b, "conditioning", lambda entry: replace(entry, place=replace(entry.place, **place)))  # type: ignore[arg-type]


def _area(b: Builder) -> tuple[Operand, Operand, Operand, Operand]:
    height, width, y, x = (b.operand(name) for name in AREA)
    return height, width, y, x


def _lower_area(node: Node, b: Builder) -> None:
    # An area takes the place of the bounds of a mask, if a node before has set those.
    _placed(b, area=_area(b), shares=False, strength=b.operand("strength"), set_cond_area=None)


def _lower_area_percentage(node: Node, b: Builder) -> None:
    _placed(b, area=_area(b), shares=True, strength=b.operand("strength"), set_cond_area=None)


def _lower_area_strength(node: Node, b: Builder) -> None:
    _placed(b, strength=b.operand("strength"))


def _lower_mask(node: Node, b: Builder) -> None:
    bounds = b.operand("set_cond_area")
    _placed(b, mask=b.operand("mask"), mask_strength=b.operand("strength"), set_cond_area=bounds)


def _lower_range(node: Node, b: Builder) -> None:
    span = (b.operand("start"), b.operand("end"))
    _each(b, "conditioning", lambda entry: replace(entry, span=span))


def _lower_combine(node: Node, b: Builder) -> None:
    first, second = (b.take(f"conditioning_{n}", Conditioning) for n in (1, 2))
    b.output(0, Conditioning((*first.entries, *second.entries)))


def _first(b: Builder) -> CondEntry:
    """Of the conditioning that is mixed in; ComfyUI leaves out its other entries, too."""
    return b.take("conditioning_from", Conditioning).entries[0]


def _lower_concat(node: Node, b: Builder) -> None:
    other = _first(b).embedding

    def change(entry: CondEntry) -> CondEntry:
        (joined,) = b.emit("join_texts", {"embedding": entry.embedding, "other": other})
        return replace(entry, embedding=joined)

    _each(b, "conditioning_to", change)


def _lower_average(node: Node, b: Builder) -> None:
    other, share = _first(b), b.operand("conditioning_to_strength")

    def mixed(one: Operand, two: Operand) -> Ref:
        (made,) = b.emit("average_texts", {"embedding": one, "other": two, "share": share})
        return made

    def change(entry: CondEntry) -> CondEntry:
        embedding, pooled = mixed(entry.embedding, other.embedding), entry.pooled
        if pooled is not None and other.pooled is not None:
            pooled = mixed(pooled, other.pooled)
        return replace(entry, embedding=embedding, pooled=pooled)

    _each(b, "conditioning_to", change)


def _lower_zero_out(node: Node, b: Builder) -> None:
    def zeros(value: Operand) -> Ref:
        (made,) = b.emit("zero_text", {"embedding": value})
        return made

    def change(entry: CondEntry) -> CondEntry:
        embedding = zeros(entry.embedding)
        return replace(entry, embedding=embedding, pooled=None if entry.pooled is None else zeros(entry.pooled))

    _each(b, "conditioning", change)


ROWS = (
    compiled("ConditioningAverage", _lower_average),
    compiled("ConditioningCombine", _lower_combine),
    compiled("ConditioningConcat", _lower_concat),
    compiled("ConditioningSetArea", _lower_area),
    compiled("ConditioningSetAreaPercentage", _lower_area_percentage),
    compiled("ConditioningSetAreaStrength", _lower_area_strength),
    compiled("ConditioningSetMask", _lower_mask),
    compiled("ConditioningSetTimestepRange", _lower_range),
    compiled("ConditioningZeroOut", _lower_zero_out),
)
