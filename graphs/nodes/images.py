"""IMAGE: loaded, resized, saved."""

from __future__ import annotations

from graphs.definition import Builder
from graphs.node import Node
from graphs.rows import compiled, op


def _lower_save(node: Node, b: Builder) -> None:
    (pixels,) = b.emit("image_to_u8", {"image": b.operand("images")})
    b.emit("save_image", {"image_u8": pixels, "filename_prefix": b.operand("filename_prefix")})


def _lower_preview(node: Node, b: Builder) -> None:
    (pixels,) = b.emit("image_to_u8", {"image": b.operand("images")})
    b.emit("preview_image", {"image_u8": pixels})


ROWS = (
    op("ImageScale", "resize_image", upscale_method="method"),
    op("ImageScaleBy", "scale_image", upscale_method="method", scale_by="factor"),
    op("LoadImage", "load_image", image="file", pure=False),
    compiled("PreviewImage", _lower_preview),
    compiled("SaveImage", _lower_save),
)
