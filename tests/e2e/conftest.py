"""One studio for all tests that look at the demo model's pictures, so that its engines are built once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfyc.demo_model import install
from tests.e2e.studio import Studio


@pytest.fixture(scope="session", autouse=True)
def _shared(shared_exports: None) -> None:
    """Every compile in this process."""


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = Studio(install(tmp_path_factory.mktemp("demo-models")), tmp_path_factory.mktemp("studio"))
    yield made
    made.close()
