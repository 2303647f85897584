"""How much memory this process has used."""

from __future__ import annotations

import sys


def peak_rss_bytes() -> int | None:
    """Highest resident set size so far; None where the system does not say."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
