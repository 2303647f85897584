"""What an op gets besides its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from runtime.backends.backend import Module

Json = Any


class Interrupted(Exception):  # noqa: N818  an outcome, like KeyboardInterrupt
    """The run was cancelled between two steps."""


@dataclass(frozen=True)
class OpContext:
    """module(role) loads the engine of that role on first use. progress(done, total) raises Interrupted when cancelled.

    attrs of steps that use a model are completed at compile time:
      sample, make_sigmas, embed_time: attrs["model"] = {"prediction": "eps" | "v", "latent_scale": 0.18215,
          "latent_channels": 4,
          "schedule": {"kind": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "timesteps": 1000}}
      encode_text: attrs["clip"] = {"tokenizer": "sd1", "width": 768}, and "max_batch", the rows an engine takes
      decode_latent*, encode_image: attrs["vae"] = {"downscale": 8, "latent_channels": 4}
    """

    attrs: Mapping[str, Json]
    module: Callable[[str], Module]
    device: torch.device
    compat: str
    node: str
    progress: Callable[[int, int], None]
    input_dir: Path
    output_dir: Path
    temp_dir: Path
    embeddings: Mapping[str, str] = field(default_factory=dict)
    prompt: Mapping[str, Json] = field(default_factory=dict)
    workflow: Mapping[str, Json] | None = None
