"""Every ATen op that has an ONNX form, by name: one literal table."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.onnx_emission.attention import attention
from compiler.onnx_emission.emitter import Translator
from compiler.onnx_emission.layers import LAYERS
from compiler.onnx_emission.layout import LAYOUT
from compiler.onnx_emission.pointwise import POINTWISE

TRANSLATORS: Mapping[str, Translator] = {
    **POINTWISE,
    **LAYOUT,
    **LAYERS,
    "aten.scaled_dot_product_attention.default": attention,
}
