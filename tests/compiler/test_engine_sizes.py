"""The sizes that engines are built for follow from the network's own rule and the family of its file."""

from __future__ import annotations

import pytest

from benchmarks.synthetic import NARROW_CLIP, NARROW_VAE, narrow_unet
from compiler.families import FAMILIES
from compiler.linking.engine_sizes import network_profile
from compiler.networks import NETWORKS, ControlNetConfig
from graphs.plan import Profile

PROFILE = Profile(batch=(1, 4), height=(64, 1024), width=(512, 2048), text=(77, 231))
UNET = narrow_unet()
SIDES = {"height": (8, 64, 128), "width": (64, 64, 256)}
TEXT = {"text": (77, 77, 231)}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("unet_core", {"batch": (1, 2, 8), **SIDES, **TEXT}),
        ("controlnet_core", {"batch": (1, 2, 8), **SIDES, **TEXT}),
        ("unet_time", {"steps": (1, 20, 1000)}),
        ("unet_context", {"batch": (1, 1, 1), **TEXT}),
        ("controlnet_hint", {"batch": (1, 1, 4), **SIDES}),
        ("vae_decoder", {"batch": (1, 1, 4), **SIDES}),
        ("vae_encoder", {"batch": (1, 1, 4), **SIDES}),
        ("clip_l", {"batch": (1, 1, 4)}),
    ],
)
def test_sizes_of_a_network(kind: str, expected: dict[str, tuple[int, int, int]]) -> None:
    configs = {"unet": UNET, "controlnet": ControlNetConfig(UNET), "vae": NARROW_VAE, "clip_l": NARROW_CLIP}
    definition = NETWORKS[kind]
    assert network_profile(definition, configs[definition.part], PROFILE) == expected


def test_the_family_says_which_side_engines_are_tuned_for() -> None:
    sdxl = next(family for family in FAMILIES if family.name == "sdxl")
    assert network_profile(NETWORKS["unet_core"], UNET, PROFILE, sdxl)["width"] == (64, 128, 256)
