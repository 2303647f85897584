"""The values that live at run time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Latent:
    """samples: (B, C, h, w) float32, unscaled (raw VAE latent). noise_mask: (B or 1, 1, H, W) float32 in [0, 1].

    batch_index: which item of a larger batch each sample is; decides its noise."""

    samples: torch.Tensor
    noise_mask: torch.Tensor | None = None
    batch_index: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Noise:
    """samples: like the latent's, float32. seed: of the noise that samplers draw on their way."""

    samples: torch.Tensor
    seed: int


@dataclass(frozen=True)
class SavedFile:
    """A file an output node wrote, in the words of ComfyUI's history.

    type: "output" or "temp"; kind: "images" or "latents".
    """

    node: str
    kind: str
    filename: str
    subfolder: str
    type: str
    path: str
