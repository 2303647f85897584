"""The sizes that an engine is built for: those of the plan's profile in the network's own units."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.families import Family
from compiler.networks.network import Batch, Config, NetworkDef
from graphs.dims import Dim
from graphs.plan import Profile

SIDES = 2  # rows for each picture: sampling puts cond and uncond into one batch
CHUNK = 77  # tokens of text that are encoded as one row
USUAL_STEPS, MAX_STEPS = 20, 1000
# Of networks without a family, such as a VAE in a file of its own.
DOWNSCALE = 8  # pixels to a latent unit
SIDE = 512  # pixels that engines are tuned for

Bounds = tuple[int, int, int]


def network_profile(
    definition: NetworkDef, config: Config, profile: Profile, family: Family | None = None
) -> Mapping[str, Bounds]:
    """(min, opt, max) of each dynamic dimension of a network."""
    used = {size.name for spec in definition.inputs(config) for size in spec.shape if isinstance(size, Dim)}
    sizes = {
        "batch": _batch(definition.batch, profile),
        "height": _side(profile.height, family),
        "width": _side(profile.width, family),
        "text": (profile.text[0], profile.text[0], profile.text[1]),
        "steps": (1, USUAL_STEPS, MAX_STEPS),
    }
    return {name: sizes[name] for name in sorted(used)}


def _batch(rule: Batch, profile: Profile) -> Bounds:
    low, high = profile.batch
    match rule:
        case "sides":
            return low, min(SIDES * low, SIDES * high), SIDES * high
        case "pictures":
            return low, low, high
        case "hints":
            return 1, 1, high
        case "texts":  # the empty text is encoded beside the chunks where a prompt has weights
            return 1, 1, profile.text[1] // CHUNK + 1
        case "one":
            return 1, 1, 1


def _side(pixels: tuple[int, int], family: Family | None) -> Bounds:
    """In latent units, tuned for the family's usual size where the profile allows it."""
    downscale = family.latent.downscale if family is not None else DOWNSCALE
    side = family.side if family is not None else SIDE
    low, high = (max(1, bound // downscale) for bound in pixels)
    return low, min(max(side // downscale, low), high), high
