"""An OpContext to call single ops with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from runtime.backends.backend import Module
from runtime.context import OpContext


class FunctionModule:
    """A Module that is a function."""

    def __init__(self, function: Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
        self._function = function

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return self._function(inputs)

    def set_weights(self, changed: Mapping[str, torch.Tensor]) -> None:
        raise AssertionError("a function has no weights")

    def close(self) -> None:
        return None


def context(
    root: Path,
    *,
    attrs: Mapping[str, Any] | None = None,
    modules: Mapping[str, Module] | None = None,
    prompt: Mapping[str, Any] | None = None,
    workflow: Mapping[str, Any] | None = None,
) -> OpContext:
    """Folders root/input, root/output and root/temp; node "9"."""
    return OpContext(
        attrs=attrs or {},
        module=lambda role: (modules or {})[role],
        device=torch.device("cpu"),
        compat="comfyui-0.8",
        node="9",
        progress=lambda done, total: None,
        input_dir=root / "input",
        output_dir=root / "output",
        temp_dir=root / "temp",
        prompt=prompt or {},
        workflow=workflow,
    )
