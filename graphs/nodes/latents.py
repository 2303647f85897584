"""LATENT: empty, resized, saved, loaded. Sizes in the widgets are pixels; the ops turn them into latent units."""

from __future__ import annotations

from graphs.definition import Builder, NodeDef
from graphs.node import COMBO, Input, Node, Output

METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")
CROPS = ("disabled", "center")


def _lower_empty(node: Node, b: Builder) -> None:
    (latent,) = b.emit("empty_latent", {name: b.operand(name) for name in ("width", "height", "batch_size")})
    b.output(0, latent)


EMPTY_LATENT_IMAGE = NodeDef(
    class_type="EmptyLatentImage",
    display_name="Empty Latent Image",
    category="latent",
    inputs=(
        Input("width", "INT", default=512, min=16, max=16384, step=8),
        Input("height", "INT", default=512, min=16, max=16384, step=8),
        Input("batch_size", "INT", default=1, min=1, max=4096),
    ),
    outputs=(Output("LATENT", "LATENT"),),
    lower=_lower_empty,
)


def _lower_upscale(node: Node, b: Builder) -> None:
    inputs = {name: b.operand(name) for name in ("width", "height", "crop")}
    samples, method = b.operand("samples"), b.operand("upscale_method")
    (latent,) = b.emit("resize_latent", {"latent": samples, "method": method, **inputs})
    b.output(0, latent)


LATENT_UPSCALE = NodeDef(
    class_type="LatentUpscale",
    display_name="Upscale Latent",
    category="latent",
    inputs=(
        Input("samples", "LATENT"),
        Input("upscale_method", COMBO, options=METHODS),
        Input("width", "INT", default=512, min=0, max=16384, step=8),
        Input("height", "INT", default=512, min=0, max=16384, step=8),
        Input("crop", COMBO, options=CROPS),
    ),
    outputs=(Output("LATENT", "LATENT"),),
    lower=_lower_upscale,
)


def _lower_upscale_by(node: Node, b: Builder) -> None:
    inputs = {"latent": b.operand("samples"), "method": b.operand("upscale_method"), "factor": b.operand("scale_by")}
    (latent,) = b.emit("scale_latent", inputs)
    b.output(0, latent)


LATENT_UPSCALE_BY = NodeDef(
    class_type="LatentUpscaleBy",
    display_name="Upscale Latent By",
    category="latent",
    inputs=(
        Input("samples", "LATENT"),
        Input("upscale_method", COMBO, options=METHODS),
        Input("scale_by", "FLOAT", default=1.5, min=0.01, max=8.0, step=0.01),
    ),
    outputs=(Output("LATENT", "LATENT"),),
    lower=_lower_upscale_by,
)


def _lower_save(node: Node, b: Builder) -> None:
    b.emit("save_latent", {"latent": b.operand("samples"), "filename_prefix": b.operand("filename_prefix")})


SAVE_LATENT = NodeDef(
    class_type="SaveLatent",
    display_name="SaveLatent",
    category="_for_testing",
    inputs=(
        Input("samples", "LATENT"),
        Input("filename_prefix", "STRING", default="latents/ComfyUI"),
        Input("prompt", "PROMPT", required=False, hidden=True),
        Input("extra_pnginfo", "EXTRA_PNGINFO", required=False, hidden=True),
    ),
    lower=_lower_save,
    output_node=True,
    pure=False,
)


def _lower_load(node: Node, b: Builder) -> None:
    (latent,) = b.emit("load_latent", {"file": b.operand("latent")})
    b.output(0, latent)


LOAD_LATENT = NodeDef(
    class_type="LoadLatent",
    display_name="LoadLatent",
    category="_for_testing",
    inputs=(Input("latent", COMBO, folder="input"),),
    outputs=(Output("LATENT", "LATENT"),),
    lower=_lower_load,
    pure=False,
)
