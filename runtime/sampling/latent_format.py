"""How the latents of a model family lie: channels, pixels to a latent unit, and the numbers that normalise them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Json = Any


@dataclass(frozen=True)
class LatentFormat:
    """downscale: pixels of a side to a latent unit. A raw VAE latent z is sampled as (z - shift) * scale."""

    channels: int = 4
    downscale: int = 8
    scale: float = 1.0
    shift: float = 0.0

    @classmethod
    def of(cls, facts: Mapping[str, Json]) -> LatentFormat:
        """facts: {"channels": 4, "downscale": 8, "scale": 0.18215, "shift": 0.0}."""
        return cls(int(facts["channels"]), int(facts["downscale"]), float(facts["scale"]), float(facts["shift"]))

    def fitted(self, samples: Tensor) -> Tensor:
        """An empty latent (all zero) takes the channels of the model; another stays as it is.

        Only where the channels differ it is looked at, which waits for the device."""
        if samples.ndim != 4 or samples.shape[1] == self.channels or samples.any():
            return samples
        return samples.new_zeros(samples.shape[0], self.channels, *samples.shape[2:])

    def normalised(self, raw: Tensor) -> Tensor:
        """(B, C, h, w) of the VAE -> the sampler's space."""
        return raw * self.scale if self.shift == 0.0 else (raw - self.shift) * self.scale

    def raw(self, normalised: Tensor) -> Tensor:
        """(B, C, h, w) of the sampler -> the VAE's space."""
        return normalised / self.scale if self.shift == 0.0 else normalised / self.scale + self.shift
