"""How well a stored widget value fits the input it may belong to."""

from __future__ import annotations

from typing import Any

from graphs.dynamic_inputs import DYNAMIC_COMBO
from graphs.node import COMBO, Input
from graphs.reading.widget_list import dynamic_members, widget_type

Json = Any

BAD, POOR, WEAK, STRONG = 0, 1, 2, 3
_FILE_ENDINGS = (
    *(".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft", ".onnx", ".yaml", ".latent"),
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".webm", ".mov", ".mkv", ".wav", ".mp3", ".flac", ".ogg"),
    *(".glb", ".gltf", ".obj", ".fbx", ".stl", ".ply", ".splat"),
)


def fit(value: Json, input: Input) -> int:
    """STRONG: of the type and inside the range or list. WEAK: could be it (another version's range, a number as text).

    POOR: sent as it is where nothing else about the list is in doubt (a fraction for a whole number, nothing).
    BAD: another type. File lists depend on the disk and choices on the version, so an unknown choice is WEAK and an
    unknown file STRONG, not BAD.
    """
    kind = widget_type(input)
    if value is None and kind in ("INT", "FLOAT", "STRING", "BOOLEAN"):
        return POOR  # in a FLOAT it may be NaN
    if kind == "INT":
        return _number(value, input, whole=True)
    if kind == "FLOAT":
        return _number(value, input, whole=False)
    if kind == "STRING":
        return STRONG if isinstance(value, str) else BAD if isinstance(value, bool | list | dict) else WEAK
    if kind == "BOOLEAN":
        return STRONG if isinstance(value, bool) else BAD if isinstance(value, list | dict | float) else WEAK
    if kind == COMBO:
        return _choice(value, input)
    if kind == DYNAMIC_COMBO:
        return STRONG if dynamic_members(input, value).known else BAD
    return WEAK


def _number(value: Json, input: Input, *, whole: bool) -> int:
    if isinstance(value, str):
        return WEAK if _reads_as_number(value) else BAD
    if isinstance(value, bool) or not isinstance(value, int | float):
        return BAD
    if whole and isinstance(value, float) and not value.is_integer():
        return POOR
    low, high = input.min, input.max
    inside = (low is None or value >= low) and (high is None or value <= high)
    return STRONG if inside else WEAK


def _reads_as_number(text: str) -> bool:
    try:
        float(text[:64])
    except ValueError:
        return False
    return True


def _choice(value: Json, input: Input) -> int:
    if isinstance(value, list):
        many = input.extra.get("multiselect") or input.extra.get("multi_select")
        return STRONG if many else BAD
    if isinstance(value, dict):
        return BAD
    if value is None:
        return WEAK
    options = input.options
    if input.folder is not None or not options:
        return STRONG if isinstance(value, str) else BAD
    # True == 1 in Python, not in JSON: a choice must also be of the same kind.
    if any(value == o and isinstance(value, bool) == isinstance(o, bool) for o in options):
        return STRONG
    if not any(isinstance(o, str) == isinstance(value, str) for o in options):
        return BAD
    return STRONG if isinstance(value, str) and _is_file(value) and any(map(_is_file, options)) else WEAK


def _is_file(choice: Json) -> bool:
    """Whether a choice names a file: which files a server lists says nothing about a value's place."""
    return isinstance(choice, str) and choice.lower().endswith(_FILE_ENDINGS)
