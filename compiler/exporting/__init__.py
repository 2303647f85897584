"""Exports networks: traced graph to ONNX dialects or saved programs, and where each weight lies."""
