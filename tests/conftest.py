"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# An example's time says more about the machine's load than about the code; pytest-timeout ends what hangs.
settings.register_profile("comfyc", deadline=None)
settings.load_profile("comfyc")
