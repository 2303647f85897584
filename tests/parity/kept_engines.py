"""A pool of engines that outlives a session, so that eighty cases of one checkpoint load its weights once."""

from __future__ import annotations

from functools import cache

from runtime.artifacts import StoreArtifacts
from runtime.engines import Engines
from runtime.store import Store

MAX_BYTES = 8 << 30  # of Stable Diffusion 1: the networks of a checkpoint in float32, and a patched U-Net beside them


@cache
def kept_engines() -> Engines:
    """On the CPU, for the life of the process."""
    return Engines(StoreArtifacts(Store()), max_bytes=MAX_BYTES, keep=True)
