"""The attributes of steps and the facts of models in a plan: types and ranges, checked when the plan is opened.

They are JSON that the ops of the runtime read as they need it. What no op reads is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from graphs.program import ModelUse, Step

Json = Any
Amiss = tuple[str, str, str]  # where in the value, expected, got
Check = Callable[[Json, str], Iterator[Amiss]]

MOST = 2**20  # no count or size is larger
GUIDERS = ("basic", "cfg", "perp_neg", "dual", "dual_nested")
PATCHES = ("differential_diffusion", "rescale_cfg", "cfg_zero_star")
PREDICTIONS = ("eps", "v", "x0", "lcm", "edm", "flow")
NUMBERS = ("width", "height", "crop_w", "crop_h", "target_width", "target_height", "ascore")


def _amiss(where: str, expected: str, value: Json) -> Iterator[Amiss]:
    yield where, expected, repr(value)[:80]


def whole(low: int, high: int = MOST) -> Check:
    def check(value: Json, where: str) -> Iterator[Amiss]:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            yield from _amiss(where, f"a whole number from {low} to {high}", value)

    return check


def number(low: float = -1e9, high: float = 1e9) -> Check:
    def check(value: Json, where: str) -> Iterator[Amiss]:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            yield from _amiss(where, f"a number from {low:g} to {high:g}", value)

    return check


def flag(value: Json, where: str) -> Iterator[Amiss]:
    if not isinstance(value, bool):
        yield from _amiss(where, "true or false", value)


def text(value: Json, where: str) -> Iterator[Amiss]:
    if not isinstance(value, str):
        yield from _amiss(where, "a text", value)


def one_of(*known: str) -> Check:
    def check(value: Json, where: str) -> Iterator[Amiss]:
        if not isinstance(value, str) or value not in known:
            yield from _amiss(where, " or ".join(known), value)

    return check


def listed(item: Check, least: int = 0) -> Check:
    def check(value: Json, where: str) -> Iterator[Amiss]:
        if not isinstance(value, list | tuple) or len(value) < least:
            yield from _amiss(where, f"a list of at least {least}", value)
            return
        for place, each in enumerate(value):
            yield from item(each, f"{where}[{place}]")

    return check


def pair(first: Check, second: Check) -> Check:
    def check(value: Json, where: str) -> Iterator[Amiss]:
        if not isinstance(value, list | tuple) or len(value) != 2:
            yield from _amiss(where, "a list of two", value)
            return
        yield from first(value[0], f"{where}[0]")
        yield from second(value[1], f"{where}[1]")

    return check


def record(needed: Mapping[str, Check], optional: Mapping[str, Check] = MappingProxyType({})) -> Check:
    """An object; fields besides these are left alone."""

    def check(value: Json, where: str) -> Iterator[Amiss]:
        if not isinstance(value, Mapping):
            yield from _amiss(where, "an object", value)
            return
        for name, inner in {**needed, **optional}.items():
            if name in value:
                yield from inner(value[name], f"{where}.{name}")
            elif name in needed:
                yield f"{where}.{name}", "a value", "none"

    return check


def or_null(inner: Check) -> Check:
    def check(value: Json, where: str) -> Iterator[Amiss]:
        if value is not None:
            yield from inner(value, where)

    return check


_BETA = number(0.0, 1.0)
_TABLE = whole(1, 100_000)
_DISCRETE = record({"beta_start": _BETA, "beta_end": _BETA, "timesteps": _TABLE}, {"zero_terminal_snr": flag})
SCHEDULES: Mapping[str, Check] = {
    "scaled_linear": _DISCRETE,
    "linear": _DISCRETE,
    "edm": record({"sigma_min": number(0.0), "sigma_max": number(0.0), "sigma_data": number(0.0)}),
    "flow": record({"shift": number(0.0), "timesteps": _TABLE}, {"multiplier": number()}),
    "flux": record({"mu": number(-100.0, 100.0), "timesteps": _TABLE}, {"multiplier": number()}),
}


def _schedule(value: Json, where: str) -> Iterator[Amiss]:
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if isinstance(kind, str) and kind in SCHEDULES:
        yield from SCHEDULES[kind](value, where)
    else:
        yield from _amiss(f"{where}.kind", " or ".join(SCHEDULES), kind)


_LATENT = record({"channels": whole(1, 4096), "downscale": whole(1, 4096), "scale": number(), "shift": number()})
_FACTS = record(
    {"prediction": one_of(*PREDICTIONS), "schedule": _schedule, "latent": _LATENT},
    {
        "vector": or_null(record({"numbers": listed(one_of(*NUMBERS)), "width": whole(2, 65_536)})),
        "concat": or_null(
            record({"channels": listed(one_of("mask", "image"), 1), "blank": listed(number()), "raw": flag})
        ),
    },
)
_ENCODER = record({"name": text, "width": whole(1, 65_536), "padding": whole(0)})
_NEEDED: Mapping[str, Mapping[str, Check]] = {
    "encode_text": {"text": record({"encoders": listed(_ENCODER, 1), "pooled": text})},
    "decode_latent": {"latent": _LATENT},
    "decode_latent_u8": {"latent": _LATENT},
    "encode_image": {"latent": _LATENT},
    "guide": {"kind": one_of(*GUIDERS)},
}
_OPTIONAL: Mapping[str, Mapping[str, Check]] = {
    "guide": {
        "patches": listed(one_of(*PATCHES)),
        "guidance": one_of("joint", "separate"),
        "residuals": listed(pair(whole(1, 65_536), whole(0, 16))),
    },
    "entry": {"acting": listed(pair(whole(0, 1000), flag))},
    "control": {"averaged": flag},
    "place": {"shares": flag},
    "make_vector": {"side": text},
    "grey_out": {"soft": flag},
}


def step_values(step: Step) -> Iterator[Amiss]:
    """What is amiss with the attributes of a step."""
    found = list(record(_NEEDED.get(step.op, {}), _OPTIONAL.get(step.op, {}))(step.attrs, "attrs"))
    yield from found
    if step.op == "encode_text" and not found:
        names = [encoder["name"] for encoder in step.attrs["text"]["encoders"]]
        if step.attrs["text"]["pooled"] not in names:
            yield "attrs.text.pooled", " or ".join(names), repr(step.attrs["text"]["pooled"])[:80]
        missing = (name for name in names if name not in step.networks)
        yield from (("networks", f"a network in the role {name}", "none") for name in missing)
    if step.op == "entry" and not found:
        controls = step.inputs.get("controls", ())
        count = len(controls) if isinstance(controls, tuple) else 1
        for index, _ in step.attrs.get("acting", ()):
            if index >= count:
                yield "attrs.acting", f"an index below {count}", str(index)


def model_values(model: ModelUse) -> Iterator[Amiss]:
    """What is amiss with the facts of a model."""
    return _FACTS(model.facts, "facts")


def needed_facts(step: Step, model: ModelUse) -> Iterator[Amiss]:
    """Facts that a step reads and that may be null where none does. Nothing else is looked at."""
    fact = {"make_vector": "vector", "make_concat": "concat"}.get(step.op)
    if fact is not None and model.facts.get(fact) is None:
        yield f"model {model.id}.facts.{fact}", "a recipe", "null"
