"""LATENT: empty, resized, changed, saved, loaded. Sizes in the widgets are pixels; the ops turn them into units."""

from __future__ import annotations

from graphs.definition import Builder
from graphs.node import Node
from graphs.rows import compiled, interpreted, op


def _lower_save(node: Node, b: Builder) -> None:
    samples = b.operand("samples")
    b.emit("save_latent", {"latent": samples, "filename_prefix": b.operand("filename_prefix")})
    b.output(0, samples)  # since ComfyUI 0.26


ROWS = (
    op("EmptyLatentImage", "empty_latent"),
    interpreted("LatentAdd", "runtime.ops.latent_edits:add_latents"),
    interpreted("LatentBatch", "runtime.ops.latent_edits:batch_latents"),
    interpreted("LatentBatchSeedBehavior", "runtime.ops.latent_edits:fix_batch_seed"),
    interpreted("LatentBlend", "runtime.ops.latent_edits:blend_latents"),
    interpreted("LatentComposite", "runtime.ops.latent_edits:composite_latents"),
    interpreted("LatentCompositeMasked", "runtime.ops.latent_edits:composite_latents_masked"),
    interpreted("LatentCrop", "runtime.ops.latent_edits:crop_latent"),
    interpreted("LatentFlip", "runtime.ops.latent_edits:flip_latent"),
    interpreted("LatentFromBatch", "runtime.ops.latent_edits:latent_from_batch"),
    interpreted("LatentInterpolate", "runtime.ops.latent_edits:interpolate_latents"),
    interpreted("LatentMultiply", "runtime.ops.latent_edits:multiply_latent"),
    interpreted("LatentRotate", "runtime.ops.latent_edits:rotate_latent"),
    interpreted("LatentSubtract", "runtime.ops.latent_edits:subtract_latents"),
    op("LatentUpscale", "resize_latent", samples="latent", upscale_method="method"),
    op("LatentUpscaleBy", "scale_latent", samples="latent", upscale_method="method", scale_by="factor"),
    op("LoadLatent", "load_latent", latent="file", pure=False),
    interpreted("RepeatLatentBatch", "runtime.ops.latent_edits:repeat_latent"),
    compiled("SaveLatent", _lower_save),
)
