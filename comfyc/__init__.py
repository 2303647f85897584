"""comfyc: an ahead-of-time compiler and minimal runtime for ComfyUI workflows.

comfyc.compile(workflow, output, ...) makes a plan, comfyc.load(plan) opens it, comfyc.Workflow reads, checks and
converts workflows. All three are loaded on first use, so that the command line starts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comfyc.api import Workflow as Workflow
    from comfyc.api import compile as compile
    from comfyc.api import load as load

__version__ = "0.1.0"
__all__ = ["Workflow", "__version__", "compile", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Workflow", "compile", "load"):
        from comfyc import api

        return getattr(api, name)
    raise AttributeError(f"module 'comfyc' has no attribute {name!r}")
