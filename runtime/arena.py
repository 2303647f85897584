"""Scratch memory that engines of a device share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from runtime.backends.backend import Arena

if TYPE_CHECKING:
    import torch


class DeviceArena(Arena):
    """One buffer that grows to the largest request. Who took a smaller one keeps it, so that addresses that a library
    has captured stay good: loading the largest engine first shares the most."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._buffer: torch.Tensor | None = None

    def take(self, size_bytes: int) -> torch.Tensor:
        import torch

        with self._lock:
            if self._buffer is None or self._buffer.numel() < size_bytes:
                self._buffer = torch.empty(size_bytes, dtype=torch.uint8, device=self._device)
            return self._buffer[:size_bytes]
