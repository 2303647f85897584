"""ControlNets in the sampling loop: which of them act on an entry, and when. The rules are ComfyUI's, as observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphs.errors import RunError

if TYPE_CHECKING:
    from runtime.sampling.conditions import Control
    from runtime.sampling.model_sampling import ModelSampling


@dataclass(frozen=True)
class Acting:
    """A ControlNet that acts on an entry where low <= sigma <= high. index: which of the guider's.

    shared: where another side has no control of its own, its entries get this one too."""

    index: int
    strength: float
    high: float
    low: float
    shared: bool = field(default=False, compare=False)

    def acts_at(self, sigma: float) -> bool:
        return self.low <= sigma <= self.high


def acting(
    controls: Sequence[Control], named: Sequence[tuple[int, bool]], model: ModelSampling
) -> tuple[Acting, ...]:
    """The controls that an entry names, (index, shared) each; one of strength 0 is left out.

    Raises RunError for an index that the guider does not have."""
    found = []
    for index, shared in named:
        if not 0 <= index < len(controls):
            got = f"control {index} of {len(controls)}"
            raise RunError("a conditioning names a control that the guider does not have", got=got)
        control = controls[index]
        high, low = (model.percent_to_sigma(percent) for percent in (control.span.start, control.span.end))
        if control.strength != 0.0:
            found.append(Acting(index, control.strength, high, low, shared))
    return tuple(found)
