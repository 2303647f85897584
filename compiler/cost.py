"""How large the values of a program are, and what its steps cost: estimates before anything runs.

Sizes of pictures come from the defaults of the parameters; of pictures that are loaded nothing is known, they count as
512x512. Values are float32. The figures of Stable Diffusion 1.5 stand for every network, which is enough to order steps
by and to tell gigabytes from megabytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphs.operands import Literal, Operand, Param, Ref
from graphs.program import Program, Step

Json = Any

UNKNOWN_SIDE = 512  # pixels
TOKENS = 77
CONTEXT_WIDTH = 24_960  # keys and values of the 16 cross-attentions of SD1.5: 2 x (sum of their widths)
FLOAT = 4  # bytes
JOINT_ROWS = 2  # a batch of both sides of the guidance
MOST = 2**20  # pixels of a side, pictures of a batch: beyond that an estimate is none


@dataclass(frozen=True, slots=True)
class Picture:
    """The size of a latent or image, in pixels of the picture."""

    batch: int = 1
    height: int = UNKNOWN_SIDE
    width: int = UNKNOWN_SIDE

    @property
    def pixels(self) -> int:
        return self.batch * self.height * self.width


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run is likely to take. peak_bytes: values alive and the activations of the step that runs, at the worst.

    flop: floating point operations by network kind, all calls of a run."""

    peak_bytes: int
    peak_step: str
    flop: Mapping[str, float]


def value_sizes(program: Program) -> dict[str, int]:
    """Bytes of every value, by Ref name."""
    pictures = picture_sizes(program)
    sizes: dict[str, int] = {}
    for step in program.steps:
        for name, kind in zip(step.outputs, _kinds(step), strict=True):
            sizes[name] = _bytes(kind, pictures[step.id], _number(program, step, "steps", 20))
    return sizes


def picture_sizes(program: Program) -> dict[str, Picture]:
    """The size of the picture that each step makes or works on, by step id."""
    made: dict[str, Picture] = {}  # by Ref name
    found: dict[str, Picture] = {}
    for step in program.steps:
        given = next((made[name] for name in step.refs() if name in made), Picture())
        picture = _picture(program, step, given)
        found[step.id] = picture
        if any(kind in ("latent", "image", "image_u8", "noise") for kind in _kinds(step)):
            made.update(dict.fromkeys(step.outputs, picture))
    return found


def work_bytes(step: Step, picture: Picture) -> int:
    """Activations while the step runs, within a factor of two: the widest layers of the network, some tensors deep."""
    if step.op in ("decode_latent", "decode_latent_u8", "encode_image"):
        return picture.pixels * 128 * FLOAT * 3
    if step.op == "sample":
        return JOINT_ROWS * picture.pixels // 64 * 320 * FLOAT * 16
    return TOKENS * 768 * FLOAT * 24 if step.op == "encode_text" else 0


def cost(program: Program, sizes: Mapping[str, int] | None = None) -> Cost:
    sizes = value_sizes(program) if sizes is None else sizes
    pictures = picture_sizes(program)
    alive, peak, peak_step = 0, 0, ""
    for step in program.steps:
        alive += sum(sizes[name] for name in step.outputs)
        now = alive + work_bytes(step, pictures[step.id])
        if now > peak:
            peak, peak_step = now, step.id
        alive -= sum(sizes[name] for name in step.frees)
    flop: dict[str, float] = {}
    makers = {name: step for step in program.steps for name in step.outputs}
    for step in program.steps:
        for kind, operations in _flop(program, step, pictures[step.id], makers):
            flop[kind] = flop.get(kind, 0.0) + operations
    return Cost(peak, peak_step, flop)


def _flop(
    program: Program, step: Step, picture: Picture, makers: Mapping[str, Step]
) -> Iterator[tuple[str, float]]:
    """Source: counts of the public SD1.5 configuration at 512x512 (2 per multiply-add); attention grows with the square
    of the pixels, everything else with the pixels. Folded steps cost nothing."""
    area = picture.height * picture.width / 512**2
    if step.op == "sample":
        entries = _behind(makers, _behind(makers, [step], "guide"), "entry")
        calls = _number(program, step, "steps", 20) * (len(entries) or 2) * picture.batch
        yield "unet", calls * (0.681e12 * area + 0.122e12 * area**2)
        controls = sum(len(entry.attrs.get("acting", ())) for entry in entries) / (len(entries) or 1)
        if controls:  # the U-Net's input half
            yield "controlnet", controls * calls * (0.233e12 * area + 0.041e12 * area**2)
    elif step.op in ("decode_latent", "decode_latent_u8"):
        yield "vae_decoder", picture.batch * (2.48e12 * area + 0.035e12 * area**2)
    elif step.op == "encode_image":
        yield "vae_encoder", picture.batch * (1.082e12 * area + 0.035e12 * area**2)
    elif step.op == "encode_text" and not step.folded:
        yield "clip_l", 0.0133e12


def _behind(makers: Mapping[str, Step], steps: Sequence[Step], op: str) -> list[Step]:
    """The steps of that op that make inputs of these, as often as they do. makers: Ref name -> its step."""
    found = (makers[name] for step in steps for name in step.refs() if name in makers)
    return [step for step in found if step.op == op]


def _kinds(step: Step) -> tuple[str, ...]:
    """What each output is: the name that graphs.ops gives it, which ends the Ref's name ("5.latent", "5.latent.2")."""
    return tuple(next((part for part in reversed(name.split(".")) if not part.isdigit()), "") for name in step.outputs)


def _bytes(kind: str, picture: Picture, steps: int) -> int:
    sizes: dict[str, Callable[[], int]] = {
        "latent": lambda: picture.pixels // 64 * 4 * FLOAT,
        "noise": lambda: picture.pixels // 64 * 4 * FLOAT,
        "image": lambda: picture.pixels * 3 * FLOAT,
        "image_u8": lambda: picture.pixels * 3,
        "mask": lambda: picture.pixels * FLOAT,
        "embedding": lambda: TOKENS * 768 * FLOAT,
        "pooled": lambda: 768 * FLOAT,
        "context": lambda: TOKENS * CONTEXT_WIDTH * FLOAT,
        "sigmas": lambda: (steps + 1) * FLOAT,
        "time": lambda: (steps + 1) * 1280 * FLOAT,
    }
    return sizes[kind]() if kind in sizes else 64


def _picture(program: Program, step: Step, given: Picture) -> Picture:
    if step.op == "empty_latent":
        return _sized(*(_number(program, step, name, default) for name, default in _EMPTY))
    if step.op in ("resize_latent", "resize_image"):
        width, height = (_number(program, step, name, 0) for name in ("width", "height"))
        if width == 0 and height == 0:
            return given
        width = int(width or given.width * height / given.height)
        return _sized(given.batch, height or given.height * width / given.width, width)
    if step.op in ("scale_latent", "scale_image"):
        factor = _value(program, step.inputs.get("factor"))
        scale = float(factor) if _is_number(factor) else 1.0
        return _sized(given.batch, given.height * scale, given.width * scale)
    return given


def _sized(batch: float, height: float, width: float) -> Picture:
    """A picture of a possible size: a workflow may say 0, which only its run can refuse."""
    batch, height, width = (min(max(1, round(side)), MOST) for side in (batch, height, width))
    return Picture(batch, height, width)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


_EMPTY = (("batch_size", 1), ("height", UNKNOWN_SIDE), ("width", UNKNOWN_SIDE))


def _number(program: Program, step: Step, name: str, default: int) -> int:
    """A whole number among the inputs of a step, or of the steps that make its inputs (the schedule's step count)."""
    value = _value(program, step.inputs.get(name))
    if value is None and name == "steps" and "sigmas" in step.inputs:
        sigmas = step.inputs["sigmas"]
        maker = next((s for s in program.steps if isinstance(sigmas, Ref) and sigmas.name in s.outputs), None)
        value = _value(program, maker.inputs.get(name)) if maker is not None else None
    return int(value) if _is_number(value) else default


def _value(program: Program, operand: Operand | tuple[Operand, ...] | None) -> Json:
    if isinstance(operand, Literal):
        return operand.value
    return program.parameters[operand.name].default if isinstance(operand, Param) else None
