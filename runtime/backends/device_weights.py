"""Weight files onto a GPU: read in pieces into pinned memory, copied beside the next read, laid out on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch

from graphs.errors import PlanError
from runtime.backends.kernel_pack import Buffer
from runtime.backends.kernels.upsample import fold

_PIECE_BYTES = 64 << 20
_LINE_BYTES = 256
# How a weight follows from the file's, on the GPU.
TRANSFORMS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType({"fold": fold})


class DeviceWeights:
    """The weights of an engine on the GPU, in the places and layouts that its programs want; set() keeps the places."""

    def __init__(self, wanted: Sequence[Buffer], device: torch.device) -> None:
        self.tensors = [
            torch.empty_strided(b.shape, b.strides, dtype=getattr(torch, b.dtype), device=device) for b in wanted
        ]
        self._places: dict[str, list[tuple[str, torch.Tensor]]] = {}
        for buffer, tensor in zip(wanted, self.tensors, strict=True):
            for name, place in _parts(buffer, tensor):
                self._places.setdefault(name, []).append((buffer.transform, place))

    def load(self, weights: Mapping[str, torch.Tensor], *, where: str) -> None:
        """Every weight of the engine, from host or device memory; others in `weights` are ignored. Raises PlanError."""
        missing = sorted(set(self._places) - set(weights))
        if missing:
            raise PlanError(
                f"the weight files lack {len(missing)} weights of the network", where=where, expected=missing[0]
            )
        staging = _Staging()
        for name, places in self._places.items():
            weight = weights[name]  # one at a time: it may be made when it is asked for
            for transform, place in places:
                self._check(name, weight, transform, place)
            staging.send(weight, places)
        staging.finish()

    def set(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Copies host or device tensors into the places of these names. Raises PlanError for an unknown name, another
        shape or another dtype, before anything is copied."""
        for name, weight in weights.items():
            for transform, place in self._places.get(name, []):
                self._check(name, weight, transform, place)
            if name not in self._places:
                raise PlanError("the engine has no such weight", where=name)
        staging = _Staging()
        for name, weight in weights.items():
            staging.send(weight, self._places[name])
        staging.finish()

    def _check(self, name: str, weight: torch.Tensor, transform: str, place: torch.Tensor) -> None:
        shape = place.shape
        if transform:
            shape = TRANSFORMS[transform](weight.to("meta")).shape
        expected = weight.shape if transform and shape == place.shape else place.shape
        if weight.shape != expected or weight.dtype != place.dtype:
            raise PlanError(
                "a weight is another than the engine wants", where=name,
                expected=f"{tuple(place.shape)} {place.dtype}", got=f"{tuple(weight.shape)} {weight.dtype}",
            )  # fmt: skip


def _parts(buffer: Buffer, tensor: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """The weights that a tensor holds, each with its place in it."""
    if not buffer.parts:
        return [(buffer.name, tensor)] if tensor.numel() else []
    slices = torch.split(tensor, [rows for _, rows in buffer.parts])
    return [(name, place) for (name, _), place in zip(buffer.parts, slices, strict=True)]


class _Staging:
    """Two pinned pieces: one is filled from the file while the other is on its way."""

    def __init__(self) -> None:
        self._pieces = [torch.empty(_PIECE_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        self._events: list[torch.cuda.Event | None] = [None, None]
        self._current, self._used = 0, 0
        self._waiting: list[tuple[torch.Tensor, list[tuple[str, torch.Tensor]]]] = []

    def send(self, weight: torch.Tensor, places: list[tuple[str, torch.Tensor]]) -> None:
        size = weight.numel() * weight.element_size()
        if weight.is_cuda or size > _PIECE_BYTES:
            _place(weight, places)
            return
        if self._used + size > _PIECE_BYTES:
            self._flush()
        piece = self._pieces[self._current][self._used : self._used + size]
        host = piece.view(weight.dtype).view(weight.shape)
        host.copy_(weight)
        self._waiting.append((host, places))
        self._used += -(-size // _LINE_BYTES) * _LINE_BYTES

    def _flush(self) -> None:
        for host, places in self._waiting:
            _place(host, places)
        self._waiting.clear()
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._events[self._current] = event
        self._current, self._used = 1 - self._current, 0
        pending = self._events[self._current]
        if pending is not None:
            pending.synchronize()

    def finish(self) -> None:
        self._flush()
        torch.cuda.synchronize()


def _place(weight: torch.Tensor, places: list[tuple[str, torch.Tensor]]) -> None:
    """Copies as the bytes are, then changes layout and transforms on the GPU: strided copies from the host are slow."""
    device = weight.to(places[0][1].device, non_blocking=True)
    for transform, place in places:
        place.copy_(TRANSFORMS[transform](device) if transform else device)
