"""What every test costs in CPU time, its child processes included: far steadier than the clock where others work
on the same machine, though a crowded one can double it.

The summary names the most expensive tests and what each folder costs together. A test above the limit that is not
marked slow (or gpu, or parity) fails the run: it makes everybody wait.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping

import pytest

LIMIT = 120.0  # seconds, with the fixtures that were made for it
SHOWN = 15
WORTH_TELLING = 10.0  # seconds of all tests together
EXEMPT = {"slow", "gpu", "parity"}
_PROPERTY = "cpu_seconds"


def _now() -> float:
    return sum(os.times()[:4])


class CpuTimes:
    """Measures in each worker, adds up and tells where the reports arrive."""

    def __init__(self) -> None:
        self._last = _now()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._exempt: set[str] = set()

    def pytest_runtest_logstart(self) -> None:
        self._last = _now()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        now = _now()
        report.user_properties.append((_PROPERTY, now - self._last))  # goes with the report from worker to controller
        self._last = now
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += sum(float(str(v)) for name, v in report.user_properties if name == _PROPERTY)
        if EXEMPT & report.keywords.keys():
            self._exempt.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._above() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if sum(self._seconds.values()) < WORTH_TELLING:
            return
        terminalreporter.section("CPU time")
        for line in summary(self._seconds):
            terminalreporter.write_line(line)
        for nodeid, seconds in self._above().items():
            line = f"TOO SLOW {nodeid}: {seconds:.0f} s of CPU; make it cheaper, or mark it slow"
            terminalreporter.write_line(line, red=True)

    def _above(self) -> dict[str, float]:
        return {n: s for n, s in self._seconds.items() if s > LIMIT and n not in self._exempt}


def summary(seconds: Mapping[str, float]) -> list[str]:
    """seconds: by node id. The most expensive tests, then each folder, then all."""
    folders = Counter[str]()
    for nodeid, spent in seconds.items():
        folders[nodeid.partition("::")[0].rpartition("/")[0]] += spent  # type: ignore[assignment]
    costly = sorted(seconds.items(), key=lambda item: -item[1])[:SHOWN]
    return [
        *(f"{spent:8.1f} s  {nodeid}" for nodeid, spent in costly),
        *(f"{spent:8.0f} s  {folder}/" for folder, spent in sorted(folders.items(), key=lambda item: -item[1])),
        f"{sum(seconds.values()):8.0f} s  {len(seconds)} tests",
    ]
