"""Reads model files: safetensors by memory map, torch pickles through weights_only alone. Files are untrusted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphs.errors import CheckpointError
from runtime.pickles import NotPlainError, load_plain
from runtime.safetensors_header import read_header

MAX_TENSORS = 100_000
MAX_DEPTH = 4  # of dicts around tensors in a pickle
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
    try:
        blob = read_header(path)
    except ValueError as error:
        raise _damaged(path, str(error), "a safetensors file") from None
    if blob is None:
        raise _damaged(path, f"{size} bytes ({_guess(path)})", "a safetensors file")
    try:
        header = json.loads(blob, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"a header that is no JSON ({error})", "a safetensors file") from None
    if not isinstance(header, dict):
        raise _damaged(path, "a header that is no object", "a safetensors file")
    return header, 8 + len(blob)


def _guess(path: Path) -> str:
    with path.open("rb") as file:
        return "a web page or a pointer file?" if file.read(1) in (b"<", b"v") else "truncated, or not safetensors"


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


class _Shell:
    """Stands for an object of the training state; nothing of it is kept, no code of it runs."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __hash__(self) -> int:
        return id(self)


def _harmless_globals() -> list[Any]:
    shells: list[Any] = [(_Shell, name) for name in _SHELLS]
    # numpy scalars, as schedulers and counters store them
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    dtypes = [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType]
    return [*shells, *((_scalar, name) for name in names), *dtypes, (_encoded, "_codecs.encode")]


def _scalar(dtype: Any, value: bytes = b"") -> Any:
    """A numpy number; not a string of gigabytes, which is a dtype, too."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biufc":
        raise ValueError("no number")
    return np.frombuffer(value, dtype, count=1)[0]


def _encoded(text: str, encoding: str) -> bytes:
    """How pickles of Python 2 hold the bytes of such numbers; other codecs make much out of little."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"codec {encoding}")
    return text.encode("latin-1")


def _open_pickle(path: Path) -> ModelTensors:
    try:
        content = load_plain(path, allowed=_harmless_globals(), mmap=True)
    except NotPlainError as error:
        raise CheckpointError(
            "the file does not load as plain tensors",
            where=str(path),
            got=str(error),
            hint="fetch it again; files that need code to load are refused",
        ) from None
    if isinstance(content, dict) and len(content) == 1 and isinstance(only := next(iter(content.values())), dict):
        content = only  # wrapped once, under whatever name
    tensors = _collect(content, path)
    # The usual wrappers around a state dict.
    for wrapper in ("state_dict.", "params_ema.", "params.", "model_state_dict."):
        if any(k.startswith(wrapper) for k in tensors):
            tensors = {k.removeprefix(wrapper): v for k, v in tensors.items() if k.startswith(wrapper)}
            break
    if not tensors:
        raise CheckpointError("the file holds no tensors", where=str(path))
    infos = {key: TensorInfo(tuple(t.shape), t.dtype) for key, t in tensors.items()}
    return ModelTensors(path, infos, {}, tensors)


def _collect(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of nested dicts by its dotted key. Raises CheckpointError where shared dicts multiply."""
    tensors: dict[str, torch.Tensor] = {}
    seen = 0
    stack: list[tuple[str, Any, int]] = [("", content, 0)]
    while stack:
        name, value, depth = stack.pop()
        seen += 1
        if seen > MAX_TENSORS:
            raise CheckpointError("the file holds too many values", where=str(path), expected=f"at most {MAX_TENSORS}")
        if isinstance(value, torch.Tensor):
            tensors[name] = value.detach()
        elif isinstance(value, dict) and depth < MAX_DEPTH:
            below = [(f"{name}.{key}" if name else str(key), item, depth + 1) for key, item in value.items()]
            stack.extend(reversed(below[: MAX_TENSORS + 1]))
    return tensors
