"""Every ATen op that has an ONNX form, by name: one literal table."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.exporting.onnx.attention import attention
from compiler.exporting.onnx.emitter import Translator
from compiler.exporting.onnx.layers import LAYERS
from compiler.exporting.onnx.layout import LAYOUT
from compiler.exporting.onnx.pointwise import POINTWISE

TRANSLATORS: Mapping[str, Translator] = {
    **POINTWISE,
    **LAYOUT,
    **LAYERS,
    "aten.scaled_dot_product_attention.default": attention,
}
