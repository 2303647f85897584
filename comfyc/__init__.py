"""comfyc: an ahead-of-time compiler and minimal runtime for ComfyUI workflows."""

__version__ = "0.1.0"
