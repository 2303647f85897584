"""Runs a plan. Imports no compiler, networkx, onnx or transformers."""
