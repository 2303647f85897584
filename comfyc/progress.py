"""Progress bars with ETA for long work, on stderr; silent when stderr is not a terminal or -q was given."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from comfyc.options import is_quiet

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """One bar per phase. `bars.report` is a Progress callback of compiler and runtime: (phase, done, total) -> go on?

    A context manager: the bars go when it closes. total 0 means that the length is not known.
    """

    def __init__(self, enabled: bool | None = None) -> None:
        self._enabled = (sys.stderr.isatty() and not is_quiet()) if enabled is None else enabled
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._endless: tuple[str, TaskID] | None = None  # the phase at work whose length is not known

    def __enter__(self) -> Bars:
        if self._enabled:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._progress = Progress(
                SpinnerColumn(finished_text="✓"),
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("eta"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        self._tasks.clear()

    def report(self, phase: str, done: int, total: int) -> bool:
        """Moves the bar of a phase, making it when new. Always True: Ctrl-C cancels, not a bar."""
        if self._progress is not None:
            if self._endless is not None and self._endless[0] != phase:
                self._progress.update(self._endless[1], visible=False)  # it ended without a word
                self._endless = None
            task = self._tasks.get(phase)
            if task is None or (done == 0 and self._progress.tasks[self._progress.task_ids.index(task)].finished):
                task = self._tasks[phase] = self._progress.add_task(phase, total=total or None)
            self._progress.update(task, completed=done, total=total or None, visible=True)
            if not total:
                self._endless = (phase, task)
        return True
