"""Seconds of phases that follow each other, for the log."""

from __future__ import annotations

import time


class Stopwatch:
    """watch = Stopwatch(); ...; watch.lap("read"); ...; watch.lap("copy"); str(watch) == "read 0.12, copy 1.20 s"."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def __str__(self) -> str:
        return ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in self.seconds.items()) + " s"
