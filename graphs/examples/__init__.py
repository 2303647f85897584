"""Workflows that ship with comfyc: files here, by name without the suffix."""

from __future__ import annotations

from pathlib import Path

NAMES = ("default", "image_to_image", "lora", "two_pass")


def example(name: str) -> Path:
    """The workflow file of that name."""
    if name not in NAMES:
        raise KeyError(f"there is no example {name!r}; there are {', '.join(NAMES)}")
    return Path(__file__).parent / f"{name}.json"
