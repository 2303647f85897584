"""MASK: loaded, made, changed, and turned into pictures and back."""

from __future__ import annotations

from graphs.definition import Builder
from graphs.node import Node
from graphs.rows import compiled, interpreted, op


def _lower_preview(node: Node, b: Builder) -> None:
    mask = b.operand("mask")
    (image,) = b.emit("mask_to_image", {"mask": mask})
    (pixels,) = b.emit("image_to_u8", {"image": image})
    b.emit("preview_image", {"image_u8": pixels})
    b.output(0, mask)  # since ComfyUI 0.26


ROWS = (
    interpreted("CropMask", "runtime.ops.mask:crop_mask"),
    interpreted("FeatherMask", "runtime.ops.mask:feather_mask"),
    interpreted("GrowMask", "runtime.ops.mask:grow_mask"),
    interpreted("ImageToMask", "runtime.ops.mask:image_to_mask"),
    interpreted("InvertMask", "runtime.ops.mask:invert_mask"),
    op("LoadImageMask", "load_mask", image="file", pure=False),
    interpreted("MaskComposite", "runtime.ops.mask:composite_mask"),
    compiled("MaskPreview", _lower_preview),
    interpreted("MaskToImage", "runtime.ops.mask:mask_to_image"),
    interpreted("SolidMask", "runtime.ops.mask:solid_mask"),
    interpreted("ThresholdMask", "runtime.ops.mask:threshold_mask"),
)
