"""ControlNets in the sampling loop: which of them act on an entry, and when.

A conditioning entry carries controls; each is one of the step's ControlNets at a strength, over a part of the schedule.
What those give is added to the U-Net (runtime.ops.controlnet). The rules are ComfyUI's, as observed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphs.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import ModelSampling

Json = Any


@dataclass(frozen=True)
class Control:
    """One ControlNet on an entry. index: which of the step's. It acts where low <= sigma <= high.

    shared: where the other side has no control of its own, its entries get this one too."""

    index: int
    strength: float
    high: float
    low: float
    shared: bool = field(default=False, compare=False)

    def acts_at(self, sigma: float) -> bool:
        return self.low <= sigma <= self.high


@dataclass(frozen=True, eq=False)
class ControlInput:
    """A control that acts in one call of the network. text: (N, T, K), what its ControlNet takes as text for the whole
    batch, which is made of the batches of so many entries."""

    control: Control
    text: Tensor
    entries: int


@dataclass(frozen=True)
class ControlSettings:
    """The run-time settings of the step's controls, each one per control."""

    strengths: Sequence[float] = ()
    starts: Sequence[float] = ()
    ends: Sequence[float] = ()

    def controls(self, placed: Sequence[Sequence[Json]], model: ModelSampling) -> tuple[Control, ...]:
        """The controls of an entry; one of strength 0 is none. placed: [index, shared] each, as the entry names them.

        Raises RunError for an index that the step does not have."""
        found = []
        for index, shared in placed:
            if not 0 <= index < len(self.strengths):
                got = f"control {index} of {len(self.strengths)}"
                raise RunError("a conditioning names a control that the step does not have", got=got)
            strength = float(self.strengths[index])
            high, low = (model.percent_to_sigma(float(p)) for p in (self.starts[index], self.ends[index]))
            if strength != 0.0:
                found.append(Control(int(index), strength, high, low, bool(shared)))
        return tuple(found)
