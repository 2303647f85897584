"""Workflows that ship with comfyc: the UI form here, the API form of the same in api/, by name without the suffix."""

from __future__ import annotations

from pathlib import Path

NAMES = ("default", "image_to_image", "inpaint", "controlnet", "lora", "two_pass")


def example(name: str, *, api: bool = False) -> Path:
    """The workflow file of that name, in the UI form or the API form."""
    if name not in NAMES:
        raise KeyError(f"there is no example {name!r}; there are {', '.join(NAMES)}")
    folder = Path(__file__).parent
    return (folder / "api" if api else folder) / f"{name}.json"
