"""Stable Diffusion 1's U-Net with as few blocks as still do everything.

Tracing costs by the block, whatever the width, so most tests compile these few: see tests/shared_exports.py.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.networks.unet_config import UNetConfig

SMALL = UNetConfig(
    model_channels=32, time_width=128, widths=(32, 64, 64), res_blocks=(1, 1, 1), depths=(0, 1, 1), context_width=64
)
WIDER = replace(SMALL, model_channels=64, time_width=256, widths=(64, 128, 128))
# One level without attention, one with two res blocks.
UNEVEN = replace(SMALL, res_blocks=(1, 2, 1))
