"""The nodes that comfyc compiles, by class_type. Adding one: a line in the ROWS of its family's file."""

from __future__ import annotations

from graphs.nodes import (
    conditionings,
    controlnet,
    images,
    inpaint,
    latents,
    loaders,
    masks,
    model_patches,
    primitives,
    samplers,
    sampling,
    schedules,
    shown_pictures,
    text,
    vae,
)
from graphs.rows import NodeTable

FAMILIES = (
    conditionings, controlnet, images, inpaint, latents, loaders, masks, model_patches, primitives, samplers,
    sampling, schedules, shown_pictures, text, vae,
)  # fmt: skip

NODES = NodeTable(row for family in FAMILIES for row in family.ROWS)
