"""How far a build is, from the phases that the library reports: nested, each with a number of steps of its own."""

from __future__ import annotations

from dataclasses import dataclass

SCALE = 1000  # steps of the whole


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class BuildPhases:
    """Phases start, step and finish in any order that nests; a phase that is unknown is left alone."""

    def __init__(self) -> None:
        self._active: dict[str, _Phase] = {}
        self._most = 0.0

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        self._active[phase] = _Phase(parent, max(1, steps))

    def step(self, phase: str, index: int) -> None:
        """Step `index` (from 0) of the phase is complete."""
        if phase in self._active:
            self._active[phase].done = max(self._active[phase].done, index + 1)

    def finish(self, phase: str) -> None:
        self.done()  # what it came to counts after it is gone
        self._active.pop(phase, None)

    def done(self) -> int:
        """0 to SCALE; never less than before, although the library starts some phases twice."""
        roots = [name for name, phase in self._active.items() if phase.parent not in self._active]
        self._most = max([self._most, *(self._share(name) for name in roots)])
        return int(SCALE * min(1.0, self._most))

    def _share(self, name: str) -> float:
        phase = self._active[name]
        inner = max((self._share(n) for n, p in self._active.items() if p.parent == name and n != name), default=0.0)
        return min(1.0, (phase.done + inner) / phase.steps)
