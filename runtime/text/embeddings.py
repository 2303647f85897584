"""Textual inversion: files that hold vectors to be put in place of tokens. Files are untrusted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphs.errors import CheckpointError, ModelMissingError
from runtime.folders import ENV
from runtime.model_kinds import EMBEDDING_SUFFIXES
from runtime.pickles import NotPlainError, load_plain
from runtime.safetensors_header import SMALL, read_header
from runtime.text.chunks import MARK, tokenize

KIND = "embeddings"  # the model folder
log = logging.getLogger(__name__)

MAX_FILE_BYTES = 256 * 2**20  # the largest published ones hold some hundred vectors: well below a megabyte

MAX_NUMBERS = 2**23  # several thousand vectors


def find_embedding(name: str, embeddings: Mapping[str, Path]) -> Path | None:
    """The file of a name as a prompt writes it, with or without its suffix; None where there is none.

    A name without its sub-folder finds the file too, the first in the order of names where several have it, as ComfyUI
    looks through all sub-folders. embeddings: name relative to the folder -> path; the names may lack the suffix.
    """
    name = name.replace("\\", "/")
    for candidate in (name, *(name + suffix for suffix in EMBEDDING_SUFFIXES)):
        if candidate in embeddings:
            return embeddings[candidate]
    stem, dot, suffix = name.rpartition(".")
    if dot + suffix in EMBEDDING_SUFFIXES and stem in embeddings:
        path = embeddings[stem].with_suffix(dot + suffix)
        return path if path.is_file() else None
    bare = stem if dot + suffix in EMBEDDING_SUFFIXES else name
    below = sorted(known for known in embeddings if known.endswith(f"/{bare}")) if bare else []
    if not below:
        return None
    if len(below) > 1:
        log.warning("embedding '%s': there is %s; using '%s'", name, " and ".join(map(repr, below)), below[0])
    return embeddings[below[0]]


def mentioned(texts: Iterable[str], embeddings: Mapping[str, Path]) -> dict[str, str]:
    """The textual inversions that prompts name and that are there: the name in the prompt -> "embeddings/FILE", which
    means the same on another machine."""
    names = {path: f"{KIND}/{name}{path.suffix}" for name, path in embeddings.items()}
    found: dict[str, str] = {}

    def find(name: str) -> Tensor | None:
        path = find_embedding(name, embeddings)
        if path is not None:
            found[name] = names.get(path, f"{KIND}/{name}")
        elif name.strip(",") != name:
            return None  # asks again without the commas
        return torch.zeros(0, 1)

    for text in texts:
        if MARK in text:
            tokenize(text, find)
    return found


def missing_embedding(name: str, file: str, where: str) -> ModelMissingError:
    """The plan was compiled with it: leaving it out would give another picture."""
    hint = f"put it into a model folder and name that with --models DIR (or {ENV}), or take it out of the prompt"
    return ModelMissingError(
        f"the textual inversion '{name}' is not in the model folders", where=where, expected=file, hint=hint
    )


def load_embedding(path: Path, encoder: str, width: int) -> Tensor:
    """The vectors of a textual inversion file: (n, W) float32, W being what the file has. encoder: "clip_l",
    "clip_g" or another, of that `width`.

    Layouts: {"string_to_param": {any: vectors}} (training web UIs), {"clip_l": vectors, "clip_g": ...} (SDXL, the part
    for this encoder), a list of dicts, or vectors under any one name ("emb_params", "*", a diffusers token).
    Raises CheckpointError for a damaged file or one without vectors.
    """
    content = _read(path)
    vectors = _vectors(content, encoder, width)
    if vectors is None or vectors.dim() not in (1, 2) or vectors.numel() == 0 or not vectors.is_floating_point():
        raise CheckpointError(
            "the textual inversion file holds no vectors",
            where=str(path),
            expected="a tensor (vectors, width)",
            got="nothing of the kind" if vectors is None else f"{vectors.dtype} {tuple(vectors.shape)}",
            hint="fetch it again, or take the embedding out of the prompt",
        )
    if vectors.numel() > MAX_NUMBERS:  # a tensor can repeat a few bytes for as long as it likes
        raise CheckpointError(
            "the textual inversion is too large", where=str(path), expected=f"at most {MAX_NUMBERS} numbers",
            got=str(tuple(vectors.shape)),
        )  # fmt: skip
    return vectors.detach().reshape(-1, vectors.shape[-1]).to(torch.float32)


class _Parameters(dict[str, Any]):
    """Stands for a torch.nn.ParameterDict, in which the training web UIs keep their vectors; no code of it runs."""

    def __setstate__(self, state: object) -> None:
        parameters = state.get("_parameters") if isinstance(state, dict) else None
        if isinstance(parameters, dict):
            self.update(parameters)


_PARAMETERS = ((_Parameters, "torch.nn.modules.container.ParameterDict"),)


def _read(path: Path) -> Any:
    try:
        if not path.is_file():  # a pipe would wait for ever
            raise NotPlainError("there is no such file")
        if path.suffix.lower() != ".safetensors":
            return load_plain(path, allowed=_PARAMETERS, max_bytes=MAX_FILE_BYTES)
        if path.stat().st_size > MAX_FILE_BYTES:
            raise NotPlainError(f"it has more than {MAX_FILE_BYTES} bytes")
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            read_header(path, SMALL)
            return load_file(path)
        except (SafetensorError, RuntimeError, ValueError, TypeError) as error:  # a header that is damaged
            raise NotPlainError(f"it is damaged ({error})") from None
    except (NotPlainError, OSError) as error:
        raise CheckpointError(
            "the textual inversion file cannot be read", where=str(path), got=str(error), hint="fetch it again"
        ) from None


def _vectors(content: Any, encoder: str, width: int) -> Tensor | None:
    if isinstance(content, Tensor):
        return content
    if isinstance(content, list):
        tensors = [t for item in content if isinstance(item, dict) for t in item.values() if isinstance(t, Tensor)]
        fitting = [t.reshape(-1, t.shape[-1]) for t in tensors if t.dim() and t.shape[-1] == width]
        return torch.cat(fitting) if fitting else None
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("string_to_param"), dict):
        content = content["string_to_param"]
    elif isinstance(content.get(encoder), Tensor):
        return content[encoder]  # type: ignore[no-any-return]
    return next((t for t in content.values() if isinstance(t, Tensor)), None)
