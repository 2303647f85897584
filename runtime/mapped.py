"""Weight files, memory-mapped: nothing is read before it is used, and processes share the pages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import safetensors
import torch

from graphs.errors import PlanError


def header_fingerprint(path: str) -> str:
    """SHA-256 of a safetensors file's header: equal for files that have the same weights at the same places.

    Raises PlanError."""
    try:
        with open(path, "rb") as file:
            size = file.read(8)
            return hashlib.sha256(size + file.read(int.from_bytes(size, "little"))).hexdigest()
    except FileNotFoundError as error:
        raise _gone(path) from error
    except (OSError, MemoryError, OverflowError) as error:
        raise _unreadable(path, error) from error


def map_weights(path: str) -> Mapping[str, torch.Tensor]:
    """Name -> tensor over the mapped file (privately: writing to one does not change the file). Raises PlanError."""
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except FileNotFoundError as error:
        raise _gone(path) from error
    except (safetensors.SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _gone(path: str) -> PlanError:
    return PlanError("the weight file is gone", where=path, hint="compile the plan again")


def _unreadable(path: str, error: Exception) -> PlanError:
    hint = "run `comfyc cache verify`, then compile again"
    return PlanError(f"the weight file cannot be read: {error}", where=path, hint=hint)
