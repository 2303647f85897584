"""What a model means by sigma: its noise path, its timesteps, its prediction. One protocol, a class for each kind.

Samplers work in sigma alone: along the path x moves from noise to data, and dx/dsigma = (x - x0) / sigma holds for
every kind (Karras et al. 2022, arXiv 2206.00364, eq. 3; Lipman et al. 2023, arXiv 2210.02747, for flows, where sigma is
t). A ModelSampling is the way between that view and the network's. Everything here is a host-side scalar or a small
float32 table; nothing is on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from graphs.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

BEYOND_START = 999999999.9  # what percent 0 means where sigma has no bound: a range is open at its start
MAX_DENOISE_TOLERANCE = 1e-5  # relative: a first sigma this close to sigma_max counts as pure noise


class Path(Protocol):
    """The noise path x = alpha(sigma) * x0 + sigma * noise, which samplers of stochastic equations need to know."""

    def half_log_snr(self, sigma: Tensor) -> Tensor:
        """lambda = log(alpha / sigma), half the log signal-to-noise ratio."""

    def sigma_of(self, half_log_snr: Tensor) -> Tensor:
        """The inverse of half_log_snr."""

    def alpha(self, sigma: Tensor) -> Tensor:
        """The share of the data at a noise level."""

    def with_finite_snr(self, sigmas: Tensor) -> Tensor:
        """The schedule, its start moved where the signal is 0 there and its log-SNR infinite."""


class ModelSampling(Path, Protocol):
    """sigmas: (n,) float32 ascending, the levels that schedulers pick from. A sigma is 0-dim or (n,) float32, on the
    host."""

    @property
    def sigmas(self) -> Tensor: ...

    @property
    def sigma_min(self) -> float: ...

    @property
    def sigma_max(self) -> float: ...

    def timestep(self, sigma: Tensor) -> Tensor:
        """The time that the network is given at a noise level."""

    def sigma(self, timestep: Tensor) -> Tensor:
        """Sigma at a timestep, float32."""

    def percent_to_sigma(self, percent: float) -> float:
        """Sigma where this share of the timesteps is done: 0 is the start, or before it, 1 is the end (0.0)."""

    def is_max_denoise(self, sigma: Tensor) -> bool:
        """Whether sampling that starts at sigma starts from pure noise."""

    def scale_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The sampler's state as the network was trained to see it."""

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """The prediction of x0 from the network's output, in memory of its own. x: unscaled sampler state."""

    def noise_latent(self, latent: Tensor, noise: Tensor, sigma: Tensor, max_denoise: bool) -> Tensor:
        """The state at sigma of a latent and noise. max_denoise: sampling starts here, from pure noise."""

    def latent_at(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What a run that ends at sigma gives: for a kind that shrinks the data on its way, x grown back."""


def known_prediction(prediction: str, known: tuple[str, ...]) -> str:
    if prediction not in known:
        raise RunError("unknown prediction type", expected=" or ".join(known), got=repr(prediction), hint="recompile")
    return prediction
