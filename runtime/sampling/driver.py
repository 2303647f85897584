"""The denoising loop: a sampler asks, a denoise function answers, an observer looks on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.batching import Calls
    from runtime.sampling.sampler import Prediction, Query, Sampler

Denoise = Callable[["Tensor", "Tensor"], "Calls[Prediction]"]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One evaluation of the loop, for previews and progress: the query and what was predicted for it.

    x, prediction.denoised: (B, C, h, w) in the sampler's space, on the device; valid while the observer looks. sigma:
    0-dim on the host. done, total: steps.
    """

    x: Tensor
    sigma: Tensor
    prediction: Prediction
    done: int
    total: int


Observe = Callable[[Evaluated], None]


def drive(sampler: Sampler, denoise: Denoise, sigmas: Tensor, observe: Observe | None = None) -> Calls[Tensor]:
    """Runs a sampler to its end over a schedule. observe is called after each evaluation; what it raises ends the run.
    """
    steps = Steps(sigmas)
    query, result = _first(sampler)
    try:
        while query is not None:
            prediction = yield from denoise(*query)
            asked = query
            query, result = _next(sampler, prediction)
            if observe is not None:
                observe(Evaluated(*asked, prediction, steps.after(float(asked[1])), steps.total))
    finally:
        sampler.close()
    assert result is not None
    return result


def _first(sampler: Sampler) -> tuple[Query | None, Tensor | None]:
    try:
        return next(sampler), None
    except StopIteration as end:
        return None, end.value


def _next(sampler: Sampler, prediction: Prediction) -> tuple[Query | None, Tensor | None]:
    try:
        return sampler.send(prediction), None
    except StopIteration as end:
        return None, end.value


class Steps:
    """Counts steps, where a sampler may evaluate several times a step, or away from the schedule.

    A step counts as done once the sigma it starts from has been evaluated. sigmas: (n+1,) on the host, monotone."""

    def __init__(self, sigmas: Tensor) -> None:
        self._starts = sigmas[:-1].tolist()
        self._falling = len(self._starts) < 2 or self._starts[0] >= self._starts[-1]
        self.total = len(self._starts)
        self._done = 0

    def after(self, sigma: float) -> int:
        """Steps done once this sigma is evaluated."""
        reached = sum(1 for start in self._starts if (start >= sigma if self._falling else start <= sigma))
        self._done = max(self._done, reached)
        return self._done


class LastStart:
    """Keeps what was predicted at the start of the last step that has been begun: of several evaluations in a step, the
    one at a level of the schedule; of a sampler that goes its own way, the last one.

    sigmas: (n+1,) on the host."""

    def __init__(self, sigmas: Tensor) -> None:
        self._starts = frozenset(sigmas[:-1].tolist())
        self._found: Tensor | None = None
        self._at_start = False

    def observe(self, evaluated: Evaluated) -> None:
        starts = float(evaluated.sigma) in self._starts
        if starts or not self._at_start:
            self._found, self._at_start = evaluated.prediction.denoised, starts

    @property
    def denoised(self) -> Tensor:
        """(B, C, h, w) in the sampler's space."""
        assert self._found is not None, "nothing was evaluated"
        return self._found
