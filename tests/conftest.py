"""For all tests: property tests have no deadline of their own, for how long an example takes is the machine's load."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("comfyc", deadline=None)
settings.load_profile("comfyc")
