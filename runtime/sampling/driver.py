"""Who evaluates what a sampler asks for: one request alone, or several step by step in shared calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.sampler import Prediction, Query, Sampler

Denoise = Callable[["Tensor", "Tensor"], "Prediction"]
DenoiseTogether = Callable[[Sequence[tuple[int, "Query"]]], Sequence["Prediction"]]
Observe = Callable[["Query"], None]


class Run:
    """One sampler on its way: the query it waits on, or its result."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.query: Query | None = None
        self.result: Tensor | None = None
        try:
            self.query = next(sampler)
        except StopIteration as end:
            self.result = end.value

    def advance(self, prediction: Prediction) -> None:
        """Answers the query; the next one, or the result, is there afterwards."""
        try:
            self.query = self._sampler.send(prediction)
        except StopIteration as end:
            self.query, self.result = None, end.value

    def close(self) -> None:
        self._sampler.close()


def drive(sampler: Sampler, denoise: Denoise, observe: Observe | None = None) -> Tensor:
    """Runs one sampler to its end. observe(query) is called after each evaluation; what it raises ends the run."""
    run = Run(sampler)
    try:
        while run.query is not None:
            query = run.query
            run.advance(denoise(*query))
            if observe is not None:
                observe(query)
    finally:
        run.close()
    assert run.result is not None
    return run.result


def drive_together(samplers: Sequence[Sampler], denoise: DenoiseTogether) -> list[Tensor]:
    """Runs several samplers in rounds, each advancing one evaluation a round until it ends.

    denoise gets (index of the sampler, query) of those that still run and answers in that order, in as many or as few
    network calls as it likes. Samplers do not see each other: each gives what it would give alone."""
    runs = [Run(sampler) for sampler in samplers]
    try:
        while waiting := [(index, run.query) for index, run in enumerate(runs) if run.query is not None]:
            for (index, _), prediction in zip(waiting, denoise(waiting), strict=True):
                runs[index].advance(prediction)
    finally:
        for run in runs:
            run.close()
    results = [run.result for run in runs]
    assert all(result is not None for result in results)
    return [result for result in results if result is not None]


class StepProgress:
    """Turns evaluations into steps done: observe for drive, reporting (done, total) as progress bars want it.

    A sampler may evaluate several times a step, or away from the schedule; a step counts as done once the sigma it
    starts from has been evaluated. sigmas: (n+1,) on the host, monotone."""

    def __init__(self, sigmas: Tensor, report: Callable[[int, int], None]) -> None:
        starts = sigmas[:-1].tolist()
        self._falling = len(starts) < 2 or starts[0] >= starts[-1]
        self._starts = starts
        self._report = report
        self._done = 0

    def __call__(self, query: Query) -> None:
        sigma = float(query[1])
        reached = sum(1 for start in self._starts if (start >= sigma if self._falling else start <= sigma))
        self._done = max(self._done, reached)
        self._report(self._done, len(self._starts))
