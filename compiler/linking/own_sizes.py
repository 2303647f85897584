"""The sizes that a workflow itself asks for, which a plan of it has to accept whatever the default range is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from compiler.cost import picture_sizes
from graphs.plan import Profile
from graphs.program import Program

ON_NETWORKS = frozenset({"sample", "decode_latent", "decode_latent_u8", "encode_image"})
UNIT = 8  # pixels to a latent unit
MOST = {"batch": 4096, "height": 16_384, "width": 16_384}  # of ComfyUI's widgets; more is for the run to refuse


def widened(profile: Profile, program: Program, fixed: Collection[str] = ()) -> Profile:
    """The profile, each side wide enough for the pictures that networks work on when every parameter is at its default.

    fixed: sides that somebody chose ("batch", "height", "width"): they stay. Pictures that are loaded count as 512x512.
    """
    pictures = picture_sizes(program)
    for step in program.steps:
        if step.op not in ON_NETWORKS:
            continue
        picture = pictures[step.id]
        own = {"batch": picture.batch, "height": picture.height // UNIT * UNIT, "width": picture.width // UNIT * UNIT}
        for side, size in own.items():
            low, high = getattr(profile, side)
            if side not in fixed and 0 < size <= MOST[side]:
                profile = replace(profile, **{side: (min(low, size), max(high, size))})
    return profile
