"""The weights of an engine on a GPU: where each stands, and how it follows from the file's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch

from graphs.errors import PlanError
from runtime.backends.kernel_pack import Buffer
from runtime.backends.kernels.upsample import fold, folded_shape
from runtime.backends.staging import Staging
from runtime.mapped import Place

Targets = list[tuple[str, torch.Tensor]]  # (transform, place) of one weight
# How a weight follows from the file's, on the GPU, and the shape it has then.
TRANSFORMS: Mapping[str, tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Size], torch.Size]]] = (
    MappingProxyType({"fold": (fold, folded_shape)})
)


class DeviceWeights:
    """The weights of an engine on the GPU, in the places and layouts that its programs want; set() keeps the places."""

    def __init__(self, wanted: Sequence[Buffer], device: torch.device) -> None:
        self.tensors = [
            torch.empty_strided(b.shape, b.strides, dtype=getattr(torch, b.dtype), device=device) for b in wanted
        ]
        self._places: dict[str, Targets] = {}
        for buffer, tensor in zip(wanted, self.tensors, strict=True):
            for name, place in _parts(buffer, tensor):
                self._places.setdefault(name, []).append((buffer.transform, place))

    def load(self, weights: Mapping[str, torch.Tensor], files: Mapping[str, Place], *, where: str) -> None:
        """Every weight of the engine: read straight from `files` where it is there, else from host or device memory;
        others are ignored. Raises PlanError."""
        missing = sorted(set(self._places) - set(weights))
        if missing:
            raise PlanError(
                f"the weight files lack {len(missing)} weights of the network", where=where, expected=missing[0]
            )
        with Staging(_put) as staging:
            for name, places in self._places.items():
                # one at a time: it may be made when it is asked for
                weight = files[name] if name in files else weights[name]
                self._check(name, weight, places)
                staging.send(weight, places)

    def set(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Copies host or device tensors into the places of these names. Raises PlanError for an unknown name, another
        shape or another dtype, before anything is copied."""
        for name, weight in weights.items():
            if name not in self._places:
                raise PlanError("the engine has no such weight", where=name)
            self._check(name, weight, self._places[name])
        with Staging(_put) as staging:
            for name, weight in weights.items():
                staging.send(weight, self._places[name])

    def _check(self, name: str, weight: torch.Tensor | Place, places: Targets) -> None:
        for transform, place in places:
            shape = torch.Size(weight.shape)
            if transform:
                shape = TRANSFORMS[transform][1](shape)
            if shape != place.shape or weight.dtype != place.dtype:
                raise PlanError(
                    "a weight is another than the engine wants", where=name,
                    expected=f"{tuple(place.shape)} {place.dtype}", got=f"{tuple(weight.shape)} {weight.dtype}",
                )  # fmt: skip


def _put(weight: torch.Tensor, places: Targets) -> None:
    """Copies as the bytes are, then changes layout and transforms on the GPU: strided copies from the host are slow."""
    device = weight.to(places[0][1].device, non_blocking=True)
    for transform, place in places:
        place.copy_(TRANSFORMS[transform][0](device) if transform else device)


def _parts(buffer: Buffer, tensor: torch.Tensor) -> Targets:
    """The weights that a tensor holds, each with its place in it."""
    if not buffer.parts:
        return [(buffer.name, tensor)] if tensor.numel() else []
    slices = torch.split(tensor, [rows for _, rows in buffer.parts])
    return [(name, place) for (name, _), place in zip(buffer.parts, slices, strict=True)]
