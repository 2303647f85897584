"""Runs a plan. Imports no compiler, networkx, onnx or transformers."""

from __future__ import annotations

import os

# onnxruntime sends reports and writes a device id from the moment it is imported, and disable_telemetry_events() comes
# too late. Set here, before any file of ours imports it, and handed on to child processes.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

