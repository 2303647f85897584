"""How large the values of a program are, and what its steps cost: estimates before anything runs.

Sizes of pictures come from the defaults of the parameters; of pictures that are loaded nothing is known, they count as
512x512. Values are float32. While no model file is open the figures of Stable Diffusion 1.5 stand for every network,
which is enough to order steps by and to tell gigabytes from megabytes; compiler.linking.figures has those of the files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphs.operands import Literal, Operand, Param, Ref
from graphs.program import Program, Step

Json = Any

UNKNOWN_SIDE = 512  # pixels
TOKENS = 77
USUAL_STEPS = 20
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


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Calls of one network in a run. role: of the step. network: NetworkUse.id. count: of one row, a picture or a side.
    picture: its size. steps: of the schedule."""

    role: str
    network: str
    count: float
    picture: Picture
    steps: int = USUAL_STEPS


class Figures(Protocol):
    """What networks make and cost."""

    def width(self, step: Step, kind: str) -> int:
        """Channels of an output of a step: kind "context", "embedding", "pooled" or "time"."""

    def flop(self, calls: Evaluations) -> tuple[str, float]:
        """The network as a report calls it, and its operations, 2 per multiply-add."""


class StableDiffusion1:
    """Source: counts of the public SD1.5 configuration at 512x512; attention grows with the square of the pixels,
    everything else with the pixels."""

    WIDTHS: Mapping[str, int] = {
        "context": 24_960,  # keys and values of 16 cross-attentions: 2 x (sum of their widths)
        "embedding": 768,
        "pooled": 768,
        "time": 1280,
    }
    # role -> name, operations that grow with the pixels, with their square, with neither
    FLOP: Mapping[str, tuple[str, float, float, float]] = {
        "denoiser": ("unet", 0.681e12, 0.122e12, 0.0),
        "controlnet": ("controlnet", 0.233e12, 0.041e12, 0.0),  # the U-Net's input half
        "vae_decoder": ("vae_decoder", 2.48e12, 0.035e12, 0.0),
        "vae_decoder_u8": ("vae_decoder", 2.48e12, 0.035e12, 0.0),
        "vae_encoder": ("vae_encoder", 1.082e12, 0.035e12, 0.0),
        "text": ("clip_l", 0.0, 0.0, 0.0133e12),
    }

    def width(self, step: Step, kind: str) -> int:
        return self.WIDTHS[kind]

    def flop(self, calls: Evaluations) -> tuple[str, float]:
        area = calls.picture.height * calls.picture.width / UNKNOWN_SIDE**2
        name, linear, square, fixed = self.FLOP.get(calls.role, (calls.role, 0.0, 0.0, 0.0))
        return name, calls.count * (linear * area + square * area**2 + fixed)


SD1 = StableDiffusion1()


def value_sizes(program: Program, figures: Figures = SD1) -> dict[str, int]:
    """Bytes of every value, by Ref name."""
    pictures, counts = picture_sizes(program), step_counts(program)
    sizes: dict[str, int] = {}
    for step in program.steps:
        for name, kind in zip(step.outputs, _kinds(step), strict=True):
            sizes[name] = _bytes(step, kind, pictures[step.id], counts.get(step.id, USUAL_STEPS), figures)
    return sizes


def step_counts(program: Program) -> dict[str, int]:
    """Steps of the schedule that a step makes or is given, by step id; of the others nothing."""
    made: dict[str, int] = {}  # by Ref name
    found: dict[str, int] = {}
    for step in program.steps:
        sigmas = step.inputs.get("sigmas")
        if "steps" in step.inputs:
            found[step.id] = _number(program, step, "steps", USUAL_STEPS)
        elif isinstance(sigmas, Ref) and sigmas.name in made:
            found[step.id] = made[sigmas.name]
        if step.id in found:
            made.update(dict.fromkeys(step.outputs, found[step.id]))
    return found


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


def cost(program: Program, figures: Figures = SD1) -> Cost:
    sizes, pictures, counts = value_sizes(program, figures), picture_sizes(program), step_counts(program)
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
        for calls in _evaluations(step, pictures[step.id], counts.get(step.id, USUAL_STEPS), makers):
            name, operations = figures.flop(calls)
            if operations:
                flop[name] = flop.get(name, 0.0) + operations
    return Cost(peak, peak_step, flop)


def _evaluations(step: Step, picture: Picture, steps: int, makers: Mapping[str, Step]) -> Iterator[Evaluations]:
    """The calls of networks that a step makes. Folded steps make none. makers: Ref name -> its step."""
    if step.folded:
        return
    if step.op == "sample":
        guides = _behind(makers, [step], "guide")
        entries = _behind(makers, guides, "entry")
        calls = steps * (len(entries) or 2) * picture.batch
        for guide in guides or [step]:
            yield Evaluations("denoiser", guide.networks.get("denoiser", ""), calls, picture)
        for control, share in _acting(entries, makers):
            yield Evaluations("controlnet", control.networks.get("controlnet", ""), share * calls, picture)
    elif step.op == "encode_text":
        yield from (Evaluations("text", network, 1, picture) for network in step.networks.values())
    elif step.op not in ("guide", "control", "entry"):  # those hand their networks on
        for role, network in step.networks.items():
            count = picture.batch if role.startswith("vae_") else 1
            yield Evaluations(role, network, count, picture, steps)


def _acting(entries: Sequence[Step], makers: Mapping[str, Step]) -> Iterator[tuple[Step, float]]:
    """The ControlNets that act on entries, each with the share of the entries."""
    for entry in entries:
        controls = _behind(makers, [entry], "control")
        for index, _ in entry.attrs.get("acting", ()):
            if index < len(controls):
                yield controls[index], 1 / len(entries)


def _behind(makers: Mapping[str, Step], steps: Sequence[Step], op: str) -> list[Step]:
    """The steps of that op that make inputs of these, as often as they do. makers: Ref name -> its step."""
    found = (makers[name] for step in steps for name in step.refs() if name in makers)
    return [step for step in found if step.op == op]


def _kinds(step: Step) -> tuple[str, ...]:
    """What each output is: the name that graphs.ops gives it, which ends the Ref's name ("5.latent", "5.latent.2")."""
    return tuple(next((part for part in reversed(name.split(".")) if not part.isdigit()), "") for name in step.outputs)


def _bytes(step: Step, kind: str, picture: Picture, steps: int, figures: Figures) -> int:
    sizes: dict[str, Callable[[], int]] = {
        "latent": lambda: picture.pixels // 64 * 4 * FLOAT,
        "noise": lambda: picture.pixels // 64 * 4 * FLOAT,
        "image": lambda: picture.pixels * 3 * FLOAT,
        "image_u8": lambda: picture.pixels * 3,
        "mask": lambda: picture.pixels * FLOAT,
        "embedding": lambda: TOKENS * figures.width(step, kind) * FLOAT,
        "pooled": lambda: figures.width(step, kind) * FLOAT,
        "context": lambda: TOKENS * figures.width(step, kind) * FLOAT,
        "sigmas": lambda: (steps + 1) * FLOAT,
        "time": lambda: (steps + 1) * figures.width(step, kind) * FLOAT,
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
    """A whole number among the inputs of a step."""
    value = _value(program, step.inputs.get(name))
    return int(value) if _is_number(value) else default


def _value(program: Program, operand: Operand | tuple[Operand, ...] | None) -> Json:
    if isinstance(operand, Literal):
        return operand.value
    return program.parameters[operand.name].default if isinstance(operand, Param) else None
