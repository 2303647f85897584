"""Whether values fit the sizes that a plan was compiled for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphs.errors import RunError
from graphs.plan import Profile
from graphs.program import Step
from runtime.sampling.latent_format import LatentFormat
from runtime.values import Latent

NETWORK_OPS = frozenset({"decode_latent", "decode_latent_u8", "encode_image"})
OPTIONS = {"batch": "--batch", "height": "--size", "width": "--size"}


def check_pixels(profile: Profile, dimension: str, value: int) -> str | None:
    """What is wrong with a batch size, or a height or width in pixels; None where it fits."""
    low, high = getattr(profile, dimension)
    if low <= value <= high:
        return None
    wider = f"{min(low, value)}..{max(high, value)}"
    option = f"{OPTIONS[dimension]} {wider.replace('..', ':') if dimension == 'batch' else wider}"
    return f"{dimension} {value} is outside what the plan was compiled for, {low} to {high}; compile with {option}"


def check_inputs(profile: Profile, step: Step, inputs: Mapping[str, Any]) -> None:
    """Raises RunError where what a network would get has a size that the plan was not compiled for."""
    for dimension, value in _sizes(step, inputs):
        problem = check_pixels(profile, dimension, value)
        if problem is not None:
            raise RunError(problem, where=f"node {step.nodes[0]}" if step.nodes else step.id)


def _sizes(step: Step, inputs: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """(dimension, size), heights and widths in pixels."""
    form = _format(step, inputs)
    if form is None:
        return
    pixels = form.downscale
    if step.op == "encode_image":
        batch, height, width = inputs["image"].shape[:3]
        yield from (("batch", batch), ("height", height // pixels * pixels), ("width", width // pixels * pixels))
    else:
        latent: Latent = inputs["latent"]
        batch, _, height, width = latent.samples.shape
        yield from (("batch", batch), ("height", height * pixels), ("width", width * pixels))


def _format(step: Step, inputs: Mapping[str, Any]) -> LatentFormat | None:
    """Of a step that puts latents or pictures through a network."""
    if step.op == "sample":
        return LatentFormat.of(inputs["guider"].facts["latent"])
    return LatentFormat.of(step.attrs["latent"]) if step.op in NETWORK_OPS else None
