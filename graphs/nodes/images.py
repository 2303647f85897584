"""IMAGE: loaded, changed, saved."""

from __future__ import annotations

from graphs.definition import Builder
from graphs.node import Node
from graphs.operands import Literal
from graphs.rows import compiled, interpreted, op

DITHERS = ("none", "floyd-steinberg")  # the ordered ones, "bayer-2" and so on, are not compiled yet


def _lower_quantize(node: Node, b: Builder) -> None:
    dither = b.constant("dither")
    if dither not in DITHERS:
        raise b.unsupported("dither", f"'{dither}' is not compiled yet", hint=f"choose {' or '.join(DITHERS)}")
    inputs = {"image": b.operand("image"), "colors": b.operand("colors"), "dither": Literal(dither)}
    b.output(0, *b.emit("quantize_image", inputs))


def _lower_save(node: Node, b: Builder) -> None:
    images = b.operand("images")
    (pixels,) = b.emit("image_to_u8", {"image": images})
    b.emit("save_image", {"image_u8": pixels, "filename_prefix": b.operand("filename_prefix")})
    b.output(0, images)  # since ComfyUI 0.26


def _lower_preview(node: Node, b: Builder) -> None:
    images = b.operand("images")
    (pixels,) = b.emit("image_to_u8", {"image": images})
    b.emit("preview_image", {"image_u8": pixels})
    b.output(0, images)


ROWS = (
    interpreted("EmptyImage", "runtime.ops.pictures:empty_image"),
    interpreted("GetImageSize", "runtime.ops.pictures:image_size"),
    interpreted("ImageBatch", "runtime.ops.pictures:batch_images"),
    interpreted("ImageBlur", "runtime.ops.pictures:blur_image"),
    interpreted("ImageCompositeMasked", "runtime.ops.pictures:composite_images"),
    interpreted("ImageCrop", "runtime.ops.pictures:crop_image"),
    interpreted("ImageFlip", "runtime.ops.pictures:flip_image"),
    interpreted("ImageFromBatch", "runtime.ops.pictures:images_from_batch"),
    interpreted("ImageInvert", "runtime.ops.pictures:invert_image"),
    interpreted("ImagePadForOutpaint", "runtime.ops.pictures:pad_image"),
    compiled("ImageQuantize", _lower_quantize),
    interpreted("ImageRotate", "runtime.ops.pictures:rotate_image"),
    op("ImageScale", "resize_image", upscale_method="method"),
    op("ImageScaleBy", "scale_image", upscale_method="method", scale_by="factor"),
    interpreted("ImageScaleToTotalPixels", "runtime.ops.pictures:scale_image_to_pixels"),
    interpreted("ImageSharpen", "runtime.ops.pictures:sharpen_image"),
    interpreted("JoinImageWithAlpha", "runtime.ops.pictures:join_alpha"),
    op("LoadImage", "load_image", image="file", pure=False),
    compiled("PreviewImage", _lower_preview),
    interpreted("RepeatImageBatch", "runtime.ops.pictures:repeat_images"),
    compiled("SaveImage", _lower_save),
    interpreted("SplitImageWithAlpha", "runtime.ops.pictures:split_alpha"),
)
