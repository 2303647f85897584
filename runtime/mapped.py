"""Weight files, memory-mapped: nothing is read before it is used, and processes share the pages."""

from __future__ import annotations

from collections.abc import Mapping

import safetensors
import torch

from graphs.errors import PlanError


def map_weights(path: str) -> Mapping[str, torch.Tensor]:
    """Name -> tensor over the mapped file (privately: writing to one does not change the file). Raises PlanError."""
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except FileNotFoundError as error:
        raise PlanError("the weight file is gone", where=path, hint="compile the plan again") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise PlanError(
            f"the weight file cannot be read: {error}", where=path, hint="run `comfyc cache verify`, then compile again"
        ) from error
