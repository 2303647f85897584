"""Who evaluates the networks that runs wait for: one run alone, or several in shared calls.

A run is a generator: it yields a Call, receives what the engine gives for it, and returns its result in the end. An op
that calls networks in a loop is such a generator, and so is the executor that runs it. Runs do not know of each other.

    images = alone(execute(...))
    first, second = drive_together([execute(...), execute(...)])
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.backends.backend import Module

T = TypeVar("T")
Outputs = Mapping[str, "Tensor"]


@dataclass(frozen=True, eq=False)
class Call:
    """One evaluation of an engine. inputs: all with the same number of rows, their first dimension.

    What the engine gives for it has that many rows too. It is valid until the run asks for its next call.
    """

    module: Module
    inputs: Mapping[str, Tensor]

    @property
    def rows(self) -> int:
        return next(iter(self.inputs.values())).shape[0]

    def alike(self) -> tuple[object, ...]:
        """Calls with equal keys can be evaluated as one: the same engine, and sizes that differ in rows only."""
        sizes = sorted((name, t.dtype, str(t.device), tuple(t.shape[1:])) for name, t in self.inputs.items())
        return (id(self.module), *sizes)


Calls = Generator[Call, Outputs, T]


def alone(run: Calls[T]) -> T:
    """Drives a run to its end, each call by itself. What an engine raises is raised inside the run."""
    with torch.inference_mode():
        running = Running(run)
        while running.call is not None:
            running.answer(partial(running.call.module, running.call.inputs))
    return running.result()


def drive_together(runs: Sequence[Calls[T]], most_rows: int | None = None) -> list[T]:
    """Drives several runs in rounds: in each, the calls that are alike are evaluated as one.

    most_rows: of one evaluation. Each run gives what it gives alone, up to the order of sums inside the networks. When
    one raises, the others are closed and its error is raised.
    """
    running: list[Running[T]] = []
    try:
        with torch.inference_mode():
            for run in runs:
                running.append(Running(run))
                running[-1].check()
            while waiting := [one for one in running if one.call is not None]:
                for group in _groups(waiting, most_rows):
                    _evaluate(group)
                    for one in group:
                        one.check()
        return [one.result() for one in running]
    finally:
        for one in running:
            one.close()


@dataclass(eq=False)
class Running(Generic[T]):
    """A run on its way: the call it waits for, or None once it has a result or an error."""

    run: Calls[T]
    call: Call | None = None
    _done: list[T] = field(default_factory=list)
    _error: BaseException | None = None

    def __post_init__(self) -> None:
        self._advance(lambda: next(self.run))

    def answer(self, evaluate: Callable[[], Outputs]) -> None:
        """Goes on with what evaluate() gives, or raises inside the run what it raises."""
        try:
            outputs = evaluate()
        except BaseException as error:
            failure = error
            self._advance(lambda: self.run.throw(failure))
        else:
            self._advance(lambda: self.run.send(outputs))

    def check(self) -> None:
        """Raises what the run raised."""
        if self._error is not None:
            raise self._error

    def result(self) -> T:
        """Raises what ended the run."""
        self.check()
        return self._done[0]

    def close(self) -> None:
        self.run.close()

    def _advance(self, step: Callable[[], Call]) -> None:
        self.call = None
        try:
            self.call = step()
        except StopIteration as end:
            self._done.append(end.value)
        except BaseException as error:
            self._error = error


def _groups(waiting: Sequence[Running[T]], most_rows: int | None) -> list[list[Running[T]]]:
    groups: dict[tuple[object, ...], list[list[Running[T]]]] = {}
    for one in waiting:
        assert one.call is not None
        found = groups.setdefault(one.call.alike(), [])
        if found and (most_rows is None or _rows(found[-1]) + one.call.rows <= most_rows):
            found[-1].append(one)
        else:
            found.append([one])
    return [group for found in groups.values() for group in found]


def _rows(group: Sequence[Running[T]]) -> int:
    return sum(one.call.rows for one in group if one.call is not None)


def _evaluate(group: Sequence[Running[T]]) -> None:
    """One evaluation for the whole group, whose rows go back to each run."""
    calls = [one.call for one in group if one.call is not None]
    if len(calls) == 1:
        group[0].answer(partial(calls[0].module, calls[0].inputs))
        return
    rows = [call.rows for call in calls]
    parts: list[dict[str, Tensor]] = [{} for _ in calls]

    def evaluate() -> Outputs:
        joined = {name: torch.cat([call.inputs[name] for call in calls]) for name in calls[0].inputs}
        for name, tensor in calls[0].module(joined).items():
            for part, own in zip(parts, torch.split(tensor, rows), strict=True):
                part[name] = own
        return parts[0]

    group[0].answer(evaluate)  # an error of the engine ends the first run, and with it the round
    group[0].check()
    for one, part in zip(group[1:], parts[1:], strict=True):
        one.answer(part.copy)
