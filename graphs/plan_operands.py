"""What the steps of a plan get: a value of the right kind, numbers for numbers, texts for texts.

Of our own ops alone: those of nodes say in their schema what they take, and are functions of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphs.operands import Literal, Operand, Param, Ref
from graphs.ops import OPS
from graphs.program import Parameter, Step

Json = Any

_MADE = {name for spec in OPS.own.values() for name in spec.outputs}
# Inputs named as what other steps make: no number or text stands in their place.
_VALUES = {name for spec in OPS.own.values() for name in (*spec.inputs, *spec.optional)} & _MADE - {"value", "time"}
# What is averaged or zeroed of a text may be either half of it; a latent can be what an inpainting model is shown, and
# what a sampler saw last is a latent.
_FITTING = {
    "embedding": {"embedding", "pooled", "value"}, "pooled": {"embedding", "pooled", "value"},
    "image": {"image", "latent", "value"}, "latent": {"latent", "denoised", "value"},
}  # fmt: skip
_NUMBERS = frozenset({
    "width", "height", "batch_size", "factor", "steps", "denoise", "start_at_step", "end_at_step", "seed", "strength",
    "mask_strength", "start", "end", "share", "grow", "colors", "crop_w", "crop_h", "target_width", "target_height",
    "ascore",
})  # fmt: skip
_TEXTS = frozenset({
    "text", "text_l", "scheduler", "sampler_name", "name", "method", "crop", "file", "channel", "filename_prefix",
    "dither",
})  # fmt: skip


def operand_kinds(
    step: Step, made: Mapping[str, str], parameters: Mapping[str, Parameter]
) -> Iterator[tuple[str, str]]:
    """(expected, got) of what a step cannot take. made: value -> its kind, of those that our own ops made before."""
    if step.op not in OPS.own:
        return
    for name, operand in step.inputs.items():
        if isinstance(operand, tuple):
            if name in _NUMBERS | _TEXTS:
                yield f"one value for {name}", "a list"
        elif name in _VALUES:
            yield from _value(name, operand, made)
        elif name in _NUMBERS | _TEXTS:
            yield from _plain(name, operand, made, parameters)


def _value(name: str, operand: Operand, made: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if isinstance(operand, Literal | Param):
        yield f"{name} that a step makes", repr(operand)[:80]
    elif isinstance(operand, Ref) and made.get(operand.name, name) not in _FITTING.get(name, {name, "value"}):
        yield name, f"{made[operand.name]} ({operand.name})"


def _plain(
    name: str, operand: Operand, made: Mapping[str, str], parameters: Mapping[str, Parameter]
) -> Iterator[tuple[str, str]]:
    is_number = name in _NUMBERS
    what = f"a {'number' if is_number else 'text'} for {name}"
    match operand:
        case Literal(value):
            kinds = (int, float) if is_number else (str,)
            if not isinstance(value, kinds) or isinstance(value, bool):
                yield what, repr(value)[:80]
        case Param(key) if key in parameters:
            other = ("STRING", "BOOLEAN") if is_number else ("INT", "FLOAT", "BOOLEAN")
            if parameters[key].type in other:
                yield what, f"{key}, a {parameters[key].type}"
        case Ref(key) if made.get(key, "value") != "value":
            yield what, f"{made[key]} ({key})"
        case _:
            pass
