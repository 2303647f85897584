"""For all tests: property tests have no deadline of their own, for how long an example takes is the machine's load.

In continuous integration they draw the same examples each time, so that a run says something of the change; everywhere
else they draw new ones. Workers that share the machine compute with one thread each, and so do their children.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.cpu_time import CpuTimes

IN_A_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if IN_A_WORKER:
    os.environ["OMP_NUM_THREADS"] = "1"  # torch, which nothing here imports, reads it once

settings.register_profile("comfyc", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("comfyc")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(CpuTimes(), "cpu-times")


@pytest.fixture(scope="session")
def shared_exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """See tests/shared_exports.py. Asked for where networks are compiled, since it takes torch to import."""
    from tests.shared_exports import SharedExports

    base = tmp_path_factory.getbasetemp()  # each worker has its own, in one that belongs to the run
    with pytest.MonkeyPatch.context() as patch:
        SharedExports((base.parent if IN_A_WORKER else base) / "exports").put_in(patch)
        yield
