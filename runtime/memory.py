"""How much memory this process has used."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_rss_bytes() -> int | None:
    """Highest resident set size so far; None where the system does not say."""
    if sys.platform == "win32":
        return None
    if sys.platform == "linux":
        try:
            # getrusage would count what the parent had before this program took its place
            lines = Path("/proc/self/status").read_text("ascii", errors="replace").splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
        except (OSError, StopIteration):  # a sandbox without /proc
            pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
