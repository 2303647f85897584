"""Where in a file a tensor of a part stands."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Source:
    """third: one of three equal parts of the tensor's rows. transposed: the file holds it the other way round."""

    key: str
    third: int | None = None
    transposed: bool = False

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that is read from a tensor of the stored shape."""
        if self.third is not None and stored:
            return (stored[0] // 3, *stored[1:])
        return stored[::-1] if self.transposed else stored

    def read(self, stored: Tensor) -> Tensor:
        """A view of the stored tensor."""
        if self.third is not None:
            rows = stored.shape[0] // 3
            return stored[self.third * rows : (self.third + 1) * rows]
        return stored.t() if self.transposed else stored
