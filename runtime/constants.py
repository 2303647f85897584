"""The constants of a plan folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open


class MappedConstants(Mapping[str, torch.Tensor]):
    """constants.safetensors, each tensor read to the device when it is first used."""

    def __init__(self, path: Path, device: str) -> None:
        with safe_open(path, "pt", device=device) as file:
            self._names = tuple(file.keys())
        self._path, self._device = path, device
        self._tensors: dict[str, torch.Tensor] = {}

    def __getitem__(self, key: str) -> torch.Tensor:
        if key not in self._tensors:
            with safe_open(self._path, "pt", device=self._device) as file:
                self._tensors[key] = file.get_tensor(key)
        return self._tensors[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
