"""For all tests: property tests have no deadline of their own, for how long an example takes is the machine's load.

In continuous integration they draw the same examples each time, so that a run says something of the change; everywhere
else they draw new ones.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("comfyc", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("comfyc")
