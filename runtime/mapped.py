"""Weight files, memory-mapped: nothing is read before it is used, and processes share the pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch

from graphs.errors import PlanError
from runtime.tensor_header import DTYPES, size_bytes


@dataclass(frozen=True)
class Place:
    """Where a weight lies. offset: bytes from the start of the file."""

    path: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return size_bytes(self.dtype, self.shape)

    def read(self) -> torch.Tensor:
        """The weight over a mapping of its own, which goes with it: what was read of it does not stay in memory."""
        if not self.size_bytes:
            return torch.empty(self.shape, dtype=self.dtype)
        try:
            mapped = np.memmap(self.path, np.uint8, "c", self.offset, (self.size_bytes,))
        except (OSError, ValueError) as error:
            raise _unreadable(self.path, error) from error
        return torch.from_numpy(mapped).view(self.dtype).reshape(self.shape)


def header_fingerprint(path: Path) -> str:
    """SHA-256 of a safetensors file's header: equal for files that have the same weights at the same places.

    Raises PlanError."""
    return hashlib.sha256(_header(path)).hexdigest()


def places(layers: Sequence[Path]) -> Mapping[str, Place]:
    """The weights of the first layer, in its order, each where the last layer that has it keeps it.

    Raises PlanError: unreadable, or a layer with a weight that the first one lacks or has in another size."""
    found: dict[str, Place] = {}
    for number, path in enumerate(layers):
        for name, place in _places(path).items():
            if number and (name not in found or found[name].size_bytes != place.size_bytes):
                raise PlanError("a layer of weights does not fit the one below it", where=f"{path}: {name}", hint=HINT)
            found[name] = place
    return found


def _places(path: Path) -> dict[str, Place]:
    header = _header(path)
    places = {}
    try:
        tensors = json.loads(header[8:])
        tensors.pop("__metadata__", None)
        for name, tensor in tensors.items():
            first, end = tensor["data_offsets"]
            place = Place(path, len(header) + first, DTYPES[tensor["dtype"]], tuple(tensor["shape"]))
            if first < 0 or min(place.shape, default=0) < 0 or end - first != place.size_bytes:
                raise ValueError(f"{name} has {end - first} bytes")
            places[name] = place
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(path, error) from error
    return places


def map_layers(layers: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Name -> tensor over the mapped files (privately: writing to one does not change a file), the later layer wins.

    Raises PlanError."""
    found: dict[str, torch.Tensor] = {}
    for path in layers:
        try:
            with safetensors.safe_open(str(path), framework="pt", device="cpu") as file:
                found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        except FileNotFoundError as error:
            raise _gone(path) from error
        except (safetensors.SafetensorError, OSError) as error:
            raise _unreadable(path, error) from error
    return found


def require_fit(name: str, tensor: torch.Tensor, present: torch.Tensor | None) -> None:
    """Raises PlanError where a weight cannot take the place of the present one."""
    if present is None or (tensor.shape, tensor.dtype) != (present.shape, present.dtype):
        expected = "no such weight" if present is None else f"{present.dtype} {list(present.shape)}"
        got = f"{tensor.dtype} {list(tensor.shape)}"
        raise PlanError("a weight does not fit the engine", where=name, expected=expected, got=got, hint=HINT)


HINT = "compile the plan again"


def _header(path: Path) -> bytes:
    """The first bytes of a safetensors file: eight of length, then JSON."""
    try:
        with open(path, "rb") as file:
            size = file.read(8)
            return size + file.read(int.from_bytes(size, "little"))
    except FileNotFoundError as error:
        raise _gone(path) from error
    except (OSError, MemoryError, OverflowError) as error:
        raise _unreadable(path, error) from error


def _gone(path: Path) -> PlanError:
    return PlanError("the weight file is gone", where=str(path), hint=HINT)


def _unreadable(path: Path, error: Exception) -> PlanError:
    hint = "run `comfyc cache verify`, then compile again"
    return PlanError(f"the weight file cannot be read: {error}", where=str(path), hint=hint)
