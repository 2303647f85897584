"""Tests with the real TensorRT-RTX builder run wherever it has wheels, and fail there if it is not installed."""

from __future__ import annotations

import platform
import sys

import pytest

HAS_WHEEL = platform.machine() in ("x86_64", "AMD64") and sys.platform in ("linux", "win32")

needs_tensorrt = pytest.mark.skipif(
    not HAS_WHEEL, reason=f"TensorRT-RTX has no wheel for {sys.platform} on {platform.machine()}: NO ENGINE WAS BUILT"
)
