"""The weights of one network from its layers: files of whole tensors, then files of factors, which are multiplied out.

Multiplied out they are as a merge at compile time would write them, bit for bit: the same formulas in float32 on the
tensors of the base file, then the engine's dtype and layout. docs/adr/0013-weights-in-layers.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

import torch

from graphs.errors import PlanError
from runtime.adapters import adapted, misfit, shapes
from runtime.factors import Factors, read_factors
from runtime.mapped import Place, map_layers, places
from runtime.scratch import Scratch, scratch_error
from runtime.tensor_header import bytes_of, header

MakeScratch = Callable[[int], Scratch]
HINT = "compile the workflow again"


@dataclass(frozen=True)
class LayerFile:
    """strength: of a file of factors; None for one of whole tensors, of which the first has every weight."""

    path: Path
    strength: float | None = None


class NetworkWeights:
    """Files of whole tensors come before those of factors. scratch: where what is multiplied out may lie.

    What an engine reads is valid until close(). Not thread-safe."""

    def __init__(self, layers: Sequence[LayerFile], scratch: MakeScratch | None = None) -> None:
        self.whole = tuple(layer.path for layer in layers if layer.strength is None)
        self._factors = [(layer.path, layer.strength) for layer in layers if layer.strength is not None]
        self._make_scratch = scratch
        self._scratch: Scratch | None = None

    @classmethod
    def of(cls, *whole: Path) -> NetworkWeights:
        """Of files of whole tensors."""
        return cls([LayerFile(path) for path in whole])

    def __str__(self) -> str:
        return ", ".join(map(str, (*self.whole, *(path for path, _ in self._factors))))

    # --- what they are

    @property
    def multiplied_bytes(self) -> int:
        """Of the weights that are multiplied out. Raises PlanError."""
        return sum(self._places[name].size_bytes for name in self._changes)

    @property
    def changed(self) -> tuple[str, ...]:
        """The weights that are multiplied out: what a change to another mix has to send. Raises PlanError."""
        return tuple(self._changes)

    def files(self) -> tuple[Path, ...]:
        """Files of whole tensors, of which the later wins: what is multiplied out is written into a scratch file, the
        first time. Raises PlanError, StoreError."""
        if not self._factors:
            return self.whole
        if self._scratch is None:
            self._scratch = self._written()
        return (*self.whole, self._scratch.path)

    def tensors(self, device: str) -> Mapping[str, torch.Tensor]:
        """By name. On the CPU all are mapped; for another device what is multiplied out is made there when it is asked
        for, each time, and the others are mapped in host memory. Raises PlanError, StoreError, now or when asked."""
        if device == "cpu" or not self._factors:
            return map_layers(self.files())
        return _Multiplied(self, map_layers(self.whole), device)

    def unchanged(self) -> Mapping[str, Place]:
        """Where in their files those weights lie that no factors change. Raises PlanError."""
        return {name: place for name, place in self._places.items() if name not in self._changes}

    def close(self) -> None:
        """Deletes the scratch file. No engine may read these weights any more."""
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def __enter__(self) -> NetworkWeights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- multiplying out

    @cached_property
    def _places(self) -> Mapping[str, Place]:
        return places(self.whole)

    @cached_property
    def _changes(self) -> Mapping[str, Sequence[tuple[Factors, float]]]:
        """By name, in the order of the base file, each change on top of the one before."""
        found: dict[str, list[tuple[Factors, float]]] = {}
        for path, strength in self._factors:
            for factors in read_factors(path):
                self._check(path, factors)
                found.setdefault(factors.weight, []).append((factors, strength))
        return {name: found[name] for name in self._places if name in found} if found else {}

    def _check(self, path: Path, factors: Factors) -> None:
        """Before anything is computed: a product could be larger than any memory."""
        place = self._places.get(factors.weight)
        if place is None:
            raise PlanError("factors of a weight that is not there", where=f"{path}: {factors.weight}", hint=HINT)
        turned = factors.transposed
        if not place.dtype.is_floating_point or (turned and len(place.shape) != 2):
            reason = f"{place.dtype} {list(place.shape)}{', transposed' if turned else ''}"
        else:
            reason = misfit(factors.adapter, place.shape[::-1] if turned else place.shape)
        if reason:
            raise PlanError(
                "factors do not fit their weight", where=f"{path}: {factors.weight}", expected=str(list(place.shape)),
                got=f"{shapes(factors.adapter)} ({reason})", hint=HINT,
            )  # fmt: skip

    @torch.inference_mode(False)
    def multiplied(self, name: str, device: str = "cpu") -> torch.Tensor | None:
        """One weight, in the engine's dtype and layout; None where no factors change it."""
        changes = self._changes.get(name)
        if changes is None:
            return None
        stored = self._places[name].read()
        turned = changes[0][0].transposed
        weight = stored.to(device).to(torch.float32)
        weight = weight.t() if turned else weight
        try:
            for factors, strength in changes:
                weight = adapted(weight, factors.adapter.on(device), strength)
        except RuntimeError as error:  # no memory, or a matrix without an inverse
            raise PlanError(f"factors cannot be multiplied out: {error}", where=name) from error
        return (weight.t() if turned else weight).to(stored.dtype).contiguous()

    def _written(self) -> Scratch:
        slots = [(name, self._places[name].dtype, self._places[name].shape) for name in self._changes]
        start = header(slots)
        size = len(start) + self.multiplied_bytes
        if self._make_scratch is None:
            raise PlanError("there is no place to multiply weights out", where=str(self))
        scratch = self._make_scratch(size)
        try:
            with scratch.path.open("wb") as file:
                file.write(start)
                for name in self.changed:
                    tensor = self.multiplied(name)
                    assert tensor is not None
                    file.write(bytes_of(tensor))
        except BaseException as error:
            scratch.close()
            if isinstance(error, OSError):
                raise scratch_error(error, scratch.path.parent, size) from error
            raise
        return scratch


class _Multiplied(Mapping[str, torch.Tensor]):
    def __init__(self, weights: NetworkWeights, mapped: Mapping[str, torch.Tensor], device: str) -> None:
        self._weights, self._mapped, self._device = weights, mapped, device

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = self._weights.multiplied(name, self._device)
        return self._mapped[name] if tensor is None else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapped)

    def __len__(self) -> int:
        return len(self._mapped)
