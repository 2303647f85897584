"""The profile covers what the workflow itself asks for."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.linking.own_sizes import widened
from compiler.lowering.lower import lower
from graphs.graph import Graph
from graphs.node import Link, Node
from graphs.plan import Profile
from graphs.program import Program


def program(width: int = 512, height: int = 512, batch: int = 1, scale: float | None = None) -> Program:
    sampler: dict[str, Any] = {
        "seed": 1, "steps": 2, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
        "model": Link("4", 0), "positive": Link("6", 0), "negative": Link("6", 0), "latent_image": Link("5", 0),
    }  # fmt: skip
    nodes = [
        Node("4", "CheckpointLoaderSimple", {"ckpt_name": "a.safetensors"}),
        Node("5", "EmptyLatentImage", {"width": width, "height": height, "batch_size": batch}),
        Node("6", "CLIPTextEncode", {"text": "a hill", "clip": Link("4", 1)}),
        Node("3", "KSampler", sampler),
        Node("8", "VAEDecode", {"samples": Link("3" if scale is None else "10", 0), "vae": Link("4", 2)}),
        Node("9", "SaveImage", {"images": Link("8", 0), "filename_prefix": "x"}),
    ]
    if scale is not None:
        upscale = {"samples": Link("3", 0), "upscale_method": "bilinear", "scale_by": scale}
        nodes.insert(4, Node("10", "LatentUpscaleBy", upscale))
    return lower(Graph(nodes))


def test_what_fits_changes_nothing() -> None:
    assert widened(Profile(), program()) == Profile()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (program(batch=6), Profile(batch=(1, 6))),
        (program(width=1088), Profile(width=(64, 1088))),
        (program(width=16, height=16), Profile(height=(16, 1024), width=(16, 1024))),
        (program(width=768, height=512, scale=1.5), Profile(width=(64, 1152))),
        (program(width=10**6), Profile()),  # which no picture has
    ],
)
def test_sides_grow_to_what_is_asked_for(made: Program, expected: Profile) -> None:
    assert widened(Profile(), made) == expected


def test_sides_that_were_chosen_stay() -> None:
    assert widened(Profile(), program(width=1088, batch=6), ("width",)) == Profile(batch=(1, 6))
