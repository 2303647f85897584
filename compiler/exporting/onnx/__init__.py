"""ATen graphs to ONNX, one idea per file; the package's door is compiler.exporting.export."""
