"""MASK: loaded, made, changed, and turned into pictures and back."""

from __future__ import annotations

from graphs.definition import Builder, Lower, NodeDef
from graphs.node import COMBO, Input, Node, Output
from graphs.nodes.images import HIDDEN

MOST = 16384  # pixels


def _emit(op: str) -> Lower:
    """A lowering for nodes whose inputs are those of an op, of one output."""

    def lower(node: Node, b: Builder) -> None:
        (value,) = b.emit(op, {name: b.operand(name) for name in NODE_INPUTS[op]})
        b.output(0, value)

    return lower


def _size(name: str, default: int, least: int) -> Input:
    return Input(name, "INT", default=default, min=least, max=MOST, step=1)


# The inputs of each op that stands for a node alone: called alike in both.
NODE_INPUTS = {
    "grow_mask": ("mask", "expand", "tapered_corners"),
    "feather_mask": ("mask", "left", "top", "right", "bottom"),
    "invert_mask": ("mask",),
    "threshold_mask": ("mask", "value"),
    "solid_mask": ("value", "width", "height"),
    "crop_mask": ("mask", "x", "y", "width", "height"),
    "composite_mask": ("destination", "source", "x", "y", "operation"),
    "mask_to_image": ("mask",),
    "image_to_mask": ("image", "channel"),
}


def _lower_load(node: Node, b: Builder) -> None:
    (mask,) = b.emit("load_mask", {"file": b.operand("image"), "channel": b.operand("channel")})
    b.output(0, mask)


LOAD_IMAGE_MASK = NodeDef(
    class_type="LoadImageMask",
    display_name="Load Image (as Mask)",
    category="mask",
    inputs=(
        Input("image", COMBO, folder="input", upload="image"),
        Input("channel", COMBO, options=("alpha", "red", "green", "blue")),
    ),
    outputs=(Output("MASK", "MASK"),),
    lower=_lower_load,
    pure=False,
)

GROW_MASK = NodeDef(
    class_type="GrowMask",
    display_name="GrowMask",
    category="mask",
    inputs=(
        Input("mask", "MASK"),
        _size("expand", 0, -MOST),
        Input("tapered_corners", "BOOLEAN", default=True),
    ),
    outputs=(Output("MASK", "MASK"),),
    lower=_emit("grow_mask"),
)

FEATHER_MASK = NodeDef(
    class_type="FeatherMask",
    display_name="FeatherMask",
    category="mask",
    inputs=(Input("mask", "MASK"), *(_size(side, 0, 0) for side in ("left", "top", "right", "bottom"))),
    outputs=(Output("MASK", "MASK"),),
    lower=_emit("feather_mask"),
)

INVERT_MASK = NodeDef(
    class_type="InvertMask",
    display_name="InvertMask",
    category="mask",
    inputs=(Input("mask", "MASK"),),
    outputs=(Output("MASK", "MASK"),),
    lower=_emit("invert_mask"),
)

THRESHOLD_MASK = NodeDef(
    class_type="ThresholdMask",
    display_name="ThresholdMask",
    category="mask",
    inputs=(Input("mask", "MASK"), Input("value", "FLOAT", default=0.5, min=0.0, max=1.0, step=0.01)),
    outputs=(Output("MASK", "MASK"),),
    lower=_emit("threshold_mask"),
)

SOLID_MASK = NodeDef(
    class_type="SolidMask",
    display_name="SolidMask",
    category="mask",
    inputs=(
        Input("value", "FLOAT", default=1.0, min=0.0, max=1.0, step=0.01),
        _size("width", 512, 1),
        _size("height", 512, 1),
    ),
    outputs=(Output("MASK", "MASK"),),
    lower=_emit("solid_mask"),
)

CROP_MASK = NodeDef(
    class_type="CropMask",
    display_name="CropMask",
    category="mask",
    inputs=(
        Input("mask", "MASK"),
        _size("x", 0, 0),
        _size("y", 0, 0),
        _size("width", 512, 1),
        _size("height", 512, 1),
    ),
    outputs=(Output("MASK", "MASK"),),
    lower=_emit("crop_mask"),
)

MASK_COMPOSITE = NodeDef(
    class_type="MaskComposite",
    display_name="MaskComposite",
    category="mask",
    inputs=(
        Input("destination", "MASK"),
        Input("source", "MASK"),
        _size("x", 0, 0),
        _size("y", 0, 0),
        Input("operation", COMBO, options=("multiply", "add", "subtract", "and", "or", "xor")),
    ),
    outputs=(Output("MASK", "MASK"),),
    lower=_emit("composite_mask"),
)

MASK_TO_IMAGE = NodeDef(
    class_type="MaskToImage",
    display_name="Convert Mask to Image",
    category="mask",
    inputs=(Input("mask", "MASK"),),
    outputs=(Output("IMAGE", "IMAGE"),),
    lower=_emit("mask_to_image"),
)

IMAGE_TO_MASK = NodeDef(
    class_type="ImageToMask",
    display_name="Convert Image to Mask",
    category="mask",
    inputs=(Input("image", "IMAGE"), Input("channel", COMBO, options=("red", "green", "blue", "alpha"))),
    outputs=(Output("MASK", "MASK"),),
    lower=_emit("image_to_mask"),
)


def _lower_preview(node: Node, b: Builder) -> None:
    (image,) = b.emit("mask_to_image", {"mask": b.operand("mask")})
    (pixels,) = b.emit("image_to_u8", {"image": image})
    b.emit("preview_image", {"image_u8": pixels})


MASK_PREVIEW = NodeDef(
    class_type="MaskPreview",
    display_name="MaskPreview",
    category="mask",
    inputs=(Input("mask", "MASK"), *HIDDEN),
    lower=_lower_preview,
    output_node=True,
    pure=False,
)
