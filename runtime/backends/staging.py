"""Weights on their way to a GPU: several threads read files into pinned memory, from where the GPU copies.

Reading through a mapping costs a page fault for every few kilobytes, which is what limited loading.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

import torch

from graphs.errors import PlanError
from runtime.mapped import HINT, Place
from runtime.stopwatch import Stopwatch

log = logging.getLogger(__name__)

T = TypeVar("T")
_PIECES = 3
_PIECE_BYTES = 128 << 20
_LINE_BYTES = 256
_THREADS = 8


class Staging(Generic[T]):
    """A ring of pinned pieces: while one is filled, the one before is on its way. put: starts the copy of a tensor to
    where it belongs. Used with `with`; at its end everything is there."""

    def __init__(self, put: Callable[[torch.Tensor, T], None]) -> None:
        self._put = put
        self._pieces = [torch.empty(_PIECE_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(_PIECES)]
        self._sent: list[torch.cuda.Event | None] = [None] * _PIECES
        self._filling: list[list[tuple[Future[None], torch.Tensor, T]]] = [[] for _ in range(_PIECES)]
        self._current, self._used = 0, 0
        self._threads = ThreadPoolExecutor(_THREADS, "weights")
        self._watch = Stopwatch()

    def send(self, weight: torch.Tensor | Place, target: T) -> None:
        """weight: host or device memory, or where it lies in a file. Raises PlanError: a file that ends early."""
        size = weight.size_bytes if isinstance(weight, Place) else weight.numel() * weight.element_size()
        if isinstance(weight, Place) and size > _PIECE_BYTES:
            weight = weight.read()
        if isinstance(weight, torch.Tensor) and (weight.is_cuda or size > _PIECE_BYTES):
            self._put(weight, target)
            return
        if self._used + size > _PIECE_BYTES:
            self._next_piece()
        piece = self._pieces[self._current][self._used : self._used + size]
        host = piece.view(weight.dtype).view(weight.shape)
        self._filling[self._current].append((self._threads.submit(_fill, piece, host, weight), host, target))
        self._used += -(-size // _LINE_BYTES) * _LINE_BYTES

    def _next_piece(self) -> None:
        """The piece before goes on its way while the threads fill the current one."""
        self._send_piece((self._current - 1) % _PIECES)
        self._current, self._used = (self._current + 1) % _PIECES, 0
        sent = self._sent[self._current]
        if sent is not None:
            sent.synchronize()
        self._watch.lap("wait for copies")

    def _send_piece(self, number: int) -> None:
        self._watch.lap("ask")
        for filled, _, _ in self._filling[number]:
            filled.result()
        self._watch.lap("wait for files")
        for _, host, target in self._filling[number]:
            self._put(host, target)
        self._filling[number].clear()
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._sent[number] = event
        self._watch.lap("start copies")

    def __enter__(self) -> Staging[T]:
        self._watch.lap("pinned memory")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._send_piece((self._current - 1) % _PIECES)
                self._send_piece(self._current)
            torch.cuda.synchronize()
            self._watch.lap("wait for copies")
            log.debug("weights: %s", self._watch)
        finally:
            self._threads.shutdown()


def _fill(piece: torch.Tensor, host: torch.Tensor, weight: torch.Tensor | Place) -> None:
    """host: a view of the bytes of piece."""
    if isinstance(weight, Place):
        read_into(piece.numpy().data, weight)
    else:
        host.copy_(weight)


def read_into(target: memoryview, place: Place) -> None:
    """Fills `target`, of the size of the weight. Raises PlanError."""
    done = 0
    try:
        with place.path.open("rb", buffering=0) as file:
            file.seek(place.offset)
            while done < len(target):
                count = file.readinto(target[done:])
                if not count:
                    raise PlanError("the weight file ends early", where=str(place.path), hint=HINT)
                done += count
    except OSError as error:
        raise PlanError(f"the weight file cannot be read: {error}", where=str(place.path), hint=HINT) from error
