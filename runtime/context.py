"""What an op gets besides its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from runtime.backends.backend import Module
    from runtime.sampling.driver import Observe

Json = Any


class Interrupted(Exception):  # noqa: N818  an outcome, like KeyboardInterrupt
    """The run was cancelled between two steps."""


@dataclass(frozen=True)
class OpContext:
    """module(role) loads the engine of that role on first use. progress(done, total) raises Interrupted when cancelled.
    observe: sees each evaluation of a sampling loop, its query and its prediction.

    model: the facts of the step's model, empty for a step that names none (graphs.program.ModelUse):
      family, the name of its row; prediction "eps", "v", ...; schedule {"kind": "scaled_linear", "beta_start":
      0.00085, "beta_end": 0.012, "timesteps": 1000}; latent, see LatentFormat; input_channels 4; vector, concat: a
      recipe or null
    embeddings: textual inversions by name, of a step that reads text. compiled_embeddings: those that the prompts of
    the plan name, and that must be there (graphs.plan.Plan).
    attrs of steps that call other networks are completed at compile time:
      encode_text: attrs["text"], see there
      decode_latent*, encode_image: attrs["latent"], see LatentFormat
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
    embeddings: Mapping[str, Path] = field(default_factory=dict)
    compiled_embeddings: Mapping[str, str] = field(default_factory=dict)
    prompt: Mapping[str, Json] = field(default_factory=dict)
    workflow: Mapping[str, Json] | None = None
    model: Mapping[str, Json] = field(default_factory=dict)
    observe: Observe | None = None
