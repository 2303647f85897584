"""Reads model files: safetensors by memory map, torch pickles through weights_only alone. Files are untrusted."""

from __future__ import annotations

import codecs
import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphs.errors import CheckpointError

MAX_HEADER_BYTES = 100 * 2**20
MAX_TENSORS = 200_000
PICKLES = frozenset({".ckpt", ".pt", ".pth", ".bin"})

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """offset: bytes from the start of the file; None for tensors of a pickle."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int | None = None

    @property
    def size_bytes(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count * self.dtype.itemsize


class ModelTensors(Mapping[str, TensorInfo]):
    """The tensors of one file: what they are at once, what they hold on demand."""

    def __init__(
        self,
        path: Path,
        infos: Mapping[str, TensorInfo],
        metadata: Mapping[str, str],
        loaded: Mapping[str, torch.Tensor],
    ) -> None:
        self.path, self.metadata = path, metadata
        self._infos, self._loaded = infos, loaded
        self._map: torch.Tensor | None = None

    def __getitem__(self, key: str) -> TensorInfo:
        return self._infos[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)

    def tensor(self, key: str) -> torch.Tensor:
        """The tensor in its stored dtype, a read-only view of the mapped file."""
        if key in self._loaded:
            return self._loaded[key]
        info = self._infos[key]
        if self._map is None:
            size = self.path.stat().st_size
            self._map = torch.from_file(str(self.path), shared=False, size=size, dtype=torch.uint8)
        assert info.offset is not None
        raw = self._map[info.offset : info.offset + info.size_bytes]
        if info.offset % info.dtype.itemsize:
            raw = raw.clone()  # a view must be aligned to its dtype
        return raw.view(info.dtype).reshape(info.shape)


def open_model_file(path: Path) -> ModelTensors:
    """Raises CheckpointError for what is damaged, hostile or of no known format."""
    if not path.is_file():
        raise CheckpointError("there is no such file", where=str(path))
    if path.suffix.lower() in PICKLES:
        return _open_pickle(path)
    return _open_safetensors(path)


# --- safetensors


def _open_safetensors(path: Path) -> ModelTensors:
    size = path.stat().st_size
    header, start = _read_header(path, size)
    metadata = header.pop("__metadata__", {})
    if len(header) > MAX_TENSORS:
        raise _damaged(path, f"it lists {len(header)} tensors", f"at most {MAX_TENSORS}")
    infos = {key: _info(path, key, entry, start, size) for key, entry in header.items()}
    metadata = {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}
    return ModelTensors(path, infos, metadata, {})


def _read_header(path: Path, size: int) -> tuple[dict[str, Any], int]:
    with open(path, "rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise _damaged(path, f"{size} bytes", "a safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        if length > MAX_HEADER_BYTES or length > size - 8:
            what = "a web page or a pointer file?" if prefix[:1] in b"<v" else "truncated, or not safetensors"
            raise _damaged(path, f"a header of {length} bytes in a file of {size} ({what})", "a safetensors file")
        blob = file.read(length)
    try:
        header = json.loads(blob, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"a header that is no JSON ({error})", "a safetensors file") from None
    if not isinstance(header, dict):
        raise _damaged(path, "a header that is no object", "a safetensors file")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _info(path: Path, key: str, entry: Any, start: int, size: int) -> TensorInfo:
    try:
        dtype, shape, (begin, end) = _DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        sane = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
    except (KeyError, TypeError, ValueError):
        sane = False
    if not sane:
        raise _damaged(path, f"tensor '{key}' has an entry that makes no sense", "dtype, shape and offsets")
    info = TensorInfo(shape, dtype, start + begin)
    if info.size_bytes != end - begin:
        raise _damaged(path, f"tensor '{key}' takes {end - begin} bytes", f"{info.size_bytes} bytes")
    if start + end > size:
        raise _damaged(path, f"tensor '{key}' ends at byte {start + end} of {size}", "a whole file")
    return info


def _damaged(path: Path, got: str, expected: str) -> CheckpointError:
    return CheckpointError(
        "the model file is damaged", where=str(path), expected=expected, got=got, hint="fetch it again"
    )


# --- pickles


# Early checkpoints keep their training state beside the weights: objects of these classes are read as empty shells.
_SHELLS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.utilities.types._METRIC",
)
# All that a damaged pickle makes torch raise.
_PICKLE_ERRORS = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, KeyError, TypeError, AttributeError,
    IndexError, AssertionError, MemoryError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


class _Shell:
    """Stands for an object of the training state; nothing of it is kept, no code of it runs."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __hash__(self) -> int:
        return id(self)


def _harmless_globals() -> list[Any]:
    shells: list[Any] = [(_Shell, name) for name in _SHELLS]
    # numpy scalars, as schedulers and counters store them
    scalar = np.float64(0).__reduce__()[0]
    return [*shells, (scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, np.dtypes.Float64DType,
            np.dtypes.Float32DType, np.dtypes.Int64DType, codecs.encode]  # fmt: skip


def _open_pickle(path: Path) -> ModelTensors:
    try:
        with torch.serialization.safe_globals(_harmless_globals()), warnings.catch_warnings():
            # what matters of a pickle's protocol arrives as an exception
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except _PICKLE_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            "the file does not load as plain tensors",
            where=str(path),
            got=reason,
            hint="files that need code to load are refused; convert it to safetensors where you trust it",
        ) from None
    tensors: dict[str, torch.Tensor] = {}
    _collect(content, "", tensors)
    # The usual wrappers around a state dict.
    for wrapper in ("state_dict.", "params_ema.", "params.", "model_state_dict."):
        if any(k.startswith(wrapper) for k in tensors):
            tensors = {k.removeprefix(wrapper): v for k, v in tensors.items() if k.startswith(wrapper)}
            break
    if not tensors:
        raise CheckpointError("the file holds no tensors", where=str(path))
    infos = {key: TensorInfo(tuple(t.shape), t.dtype) for key, t in tensors.items()}
    return ModelTensors(path, infos, {}, tensors)


def _is_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _collect(content: Any, prefix: str, tensors: dict[str, torch.Tensor], depth: int = 0) -> None:
    if isinstance(content, torch.Tensor):
        tensors[prefix.removesuffix(".")] = content.detach()
    elif isinstance(content, dict) and depth < 4:
        for key, value in content.items():
            _collect(value, f"{prefix}{key}.", tensors, depth + 1)
