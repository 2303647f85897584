"""What a consumer of the ONNX graph understands: the three dialects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dialect:
    """fused_attention: how softmax(q k^T) v is written: "decomposed", "com.microsoft" (MultiHeadAttention on the
    (B, S, heads x dim) layout) or "standard" (Attention of opset 23 on (B, heads, S, dim)). min_head_dim,
    max_head_dim: the heads the fused form takes; attention with others is decomposed. group_norm: "standard"
    (GroupNormalization of opset 21) or "instance" (InstanceNormalization over groups, then scale and shift).
    microsoft: com.microsoft's Gelu, QuickGelu and the like may be used. half_only: the fused attention exists in
    16-bit types only. split_upsampling: a convolution behind an upsampling is written as four small ones (see
    upsampling.py)."""

    name: str
    opset: int
    ir_version: int
    fused_attention: str
    group_norm: str
    microsoft: bool = False
    min_head_dim: int = 0
    max_head_dim: int = 0
    half_only: bool = False
    split_upsampling: bool = False


DIALECTS = {
    d.name: d
    for d in (
        Dialect("onnx", opset=21, ir_version=10, fused_attention="decomposed", group_norm="standard"),
        Dialect(
            "onnx-ort", opset=21, ir_version=10, fused_attention="com.microsoft", group_norm="instance", microsoft=True,
            max_head_dim=1 << 16, split_upsampling=True,
        ),
        # The head sizes are those for which TensorRT-RTX 1.7 has a kernel; for any other it refuses to build.
        Dialect(
            "onnx-trt", opset=23, ir_version=11, fused_attention="standard", group_norm="standard", min_head_dim=9,
            max_head_dim=256, half_only=True,
        ),
    )
}
