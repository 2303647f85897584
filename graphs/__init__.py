"""The language: what a workflow is (Graph), what it is lowered to (Program) and what runs (Plan).

Nothing here imports torch, onnx, tensorrt, compiler or runtime.
"""
