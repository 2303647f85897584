"""IMAGE: loaded, resized, saved."""

from __future__ import annotations

from graphs.definition import Builder, NodeDef
from graphs.node import COMBO, Input, Node, Output

METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
CROPS = ("disabled", "center")


def _lower_load(node: Node, b: Builder) -> None:
    image, mask = b.emit("load_image", {"file": b.operand("image")})
    b.output(0, image)
    b.output(1, mask)


LOAD_IMAGE = NodeDef(
    class_type="LoadImage",
    display_name="Load Image",
    category="image",
    inputs=(Input("image", COMBO, folder="input", upload="image"),),
    outputs=(Output("IMAGE", "IMAGE"), Output("MASK", "MASK")),
    lower=_lower_load,
    pure=False,
)


def _lower_scale(node: Node, b: Builder) -> None:
    inputs = {name: b.operand(name) for name in ("image", "width", "height", "crop")}
    (image,) = b.emit("resize_image", {**inputs, "method": b.operand("upscale_method")})
    b.output(0, image)


IMAGE_SCALE = NodeDef(
    class_type="ImageScale",
    display_name="Upscale Image",
    category="image/upscaling",
    inputs=(
        Input("image", "IMAGE"),
        Input("upscale_method", COMBO, options=METHODS),
        Input("width", "INT", default=512, min=0, max=16384, step=1),
        Input("height", "INT", default=512, min=0, max=16384, step=1),
        Input("crop", COMBO, options=CROPS),
    ),
    outputs=(Output("IMAGE", "IMAGE"),),
    lower=_lower_scale,
)


def _lower_scale_by(node: Node, b: Builder) -> None:
    inputs = {"image": b.operand("image"), "method": b.operand("upscale_method"), "factor": b.operand("scale_by")}
    (image,) = b.emit("scale_image", inputs)
    b.output(0, image)


IMAGE_SCALE_BY = NodeDef(
    class_type="ImageScaleBy",
    display_name="Upscale Image By",
    category="image/upscaling",
    inputs=(
        Input("image", "IMAGE"),
        Input("upscale_method", COMBO, options=METHODS),
        Input("scale_by", "FLOAT", default=1.0, min=0.01, max=8.0, step=0.01),
    ),
    outputs=(Output("IMAGE", "IMAGE"),),
    lower=_lower_scale_by,
)

HIDDEN = (
    Input("prompt", "PROMPT", required=False, hidden=True),
    Input("extra_pnginfo", "EXTRA_PNGINFO", required=False, hidden=True),
)


def _lower_save(node: Node, b: Builder) -> None:
    (pixels,) = b.emit("image_to_u8", {"image": b.operand("images")})
    b.emit("save_image", {"image_u8": pixels, "filename_prefix": b.operand("filename_prefix")})


SAVE_IMAGE = NodeDef(
    class_type="SaveImage",
    display_name="Save Image",
    category="image",
    inputs=(Input("images", "IMAGE"), Input("filename_prefix", "STRING", default="ComfyUI"), *HIDDEN),
    lower=_lower_save,
    output_node=True,
    pure=False,
)


def _lower_preview(node: Node, b: Builder) -> None:
    (pixels,) = b.emit("image_to_u8", {"image": b.operand("images")})
    b.emit("preview_image", {"image_u8": pixels})


PREVIEW_IMAGE = NodeDef(
    class_type="PreviewImage",
    display_name="Preview Image",
    category="image",
    inputs=(Input("images", "IMAGE"), *HIDDEN),
    lower=_lower_preview,
    output_node=True,
    pure=False,
)
