"""The model that ships: a small Stable Diffusion of our own that draws coloured shapes as it is told.

The package holds its weights without repetition; `install` makes the ordinary model files of them that workflows load,
in ComfyUI's folders. What the model can do, how it was trained and how it scores: MODEL_CARD.md beside this file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from graphs.errors import StoreError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).parent / "weights"
SHAPES, PASTEL = "shapes.safetensors", "pastel.safetensors"  # two checkpoints of one architecture
OUTLINES, CONTOURS, STARRY_NIGHT = "outlines.safetensors", "contours.safetensors", "starry-night.safetensors"
TOKEN_TABLE = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
_UNET = "model.diffusion_model."
_VOCABULARY = 49408  # CLIP's
_STAMP = "demo-model.txt"


def install(folder: Path) -> Path:
    """Writes the model files into `folder` (checkpoints, loras, controlnet, embeddings) unless they are there already.

    Each file is whole or absent. Returns `folder`. Raises StoreError where it cannot be written to.
    """
    stamp = folder / _STAMP
    version = _fingerprint()
    if stamp.is_file() and stamp.read_text("utf-8") == version and all((folder / p).is_file() for p in FILES):
        return folder
    try:
        for place, make in FILES.items():
            _write(folder / place, make())
        stamp.write_text(version, "utf-8")
    except OSError as error:
        raise StoreError(
            "the demo model cannot be written", where=str(folder), got=str(error),
            hint="free some space, or point COMFYC_CACHE at a folder that can be written to",
        ) from error  # fmt: skip
    return folder


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(dict(tensors), part, metadata={"licence": "Apache-2.0"})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _load(name: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(WEIGHTS / name)


def _shapes() -> dict[str, Tensor]:
    """The first checkpoint, with a row of the token table for each token of CLIP's vocabulary."""
    tensors = _load(SHAPES)
    ids, rows, other = tensors.pop("token_ids"), tensors.pop("token_rows"), tensors.pop("token_other")
    table = other.repeat(_VOCABULARY, 1)
    table[ids.long()] = rows
    return {**tensors, TOKEN_TABLE: table}


def _pastel() -> dict[str, Tensor]:
    return _shapes() | _load(PASTEL)


def _contours() -> dict[str, Tensor]:
    """The ControlNet: its own tensors, and those of the U-Net's encoder that it left as they were."""
    unet = {k.removeprefix(_UNET): v for k, v in _load(SHAPES).items() if k.startswith(_UNET)}
    encoder = ("time_embed.", "input_blocks.", "middle_block.")
    tensors = {k: v for k, v in unet.items() if k.startswith(encoder)} | _load(CONTOURS)
    return {f"control_model.{key}": value for key, value in tensors.items()}


FILES: Mapping[str, Callable[[], Mapping[str, Tensor]]] = {
    f"checkpoints/{SHAPES}": _shapes,
    f"checkpoints/{PASTEL}": _pastel,
    f"controlnet/{CONTOURS}": _contours,
    f"loras/{OUTLINES}": lambda: _load(OUTLINES),
    f"embeddings/{STARRY_NIGHT}": lambda: _load(STARRY_NIGHT),
}
