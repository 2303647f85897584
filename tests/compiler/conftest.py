from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _shared(shared_exports: None) -> None:
    """Every compile in this process."""
