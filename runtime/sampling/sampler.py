"""What a sampler is: a generator that asks for denoised predictions and in the end returns the sample.

    x = sampler.send(prediction)    ->    the next (x, sigma) to denoise, or StopIteration with the final x

It yields (x, sigma): x (B, C, h, w) float32 on the device, sigma a 0-dim float32 tensor on the host. It receives a
Prediction for exactly that query. It knows no model, guidance or device: who evaluates, and how many requests share one
evaluation, is the driver's business.

All coefficients are 0-dim float32 tensors on the host. Multiplying a device tensor by one passes it by value, so a
sampler never waits for the device, and rounds as ComfyUI does, which keeps sigmas in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from graphs.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.model_sampling import ModelSampling, Path
    from runtime.sampling.noise import StepNoise


@dataclass(frozen=True, eq=False)
class Prediction:
    """denoised: the guided prediction of x0. uncond: that of the negative prompt alone, for CFG++ samplers."""

    denoised: Tensor
    uncond: Tensor | None = None

    @property
    def unguided(self) -> Tensor:
        """uncond, where the sampler declared that it needs it."""
        assert self.uncond is not None, "a sampler with needs_uncond was driven without it"
        return self.uncond


Query = tuple["Tensor", "Tensor"]
Sampler = Generator[Query, Prediction, "Tensor"]

NO_NOISE = "none"
INDEPENDENT = "independent"
BROWNIAN = "brownian"


@dataclass(frozen=True)
class SamplerDef:
    """fn(x, sigmas) or, where it uses noise, fn(x, sigmas, noise).

    noise: "none", "independent" (fresh at each call) or "brownian" (increments of one path).
    needs_uncond: predictions must carry uncond, at every cfg.
    redraws_outside_mask: with a noise mask, the kept region is noised by another seed than the rest.
    span: a sampler that treats a part of the schedule in its own way gets it as fn(x, sigmas, noise, (high, low)), two
    sigmas; here it stands as percents of the timesteps. takes_path: fn(..., path=path), the noise path of the model.
    on_levels: written for x0 + s * noise, it runs on other paths by a change of variables (see on_levels).
    numbers: settings of its own that it takes by keyword; given: those of this run. noise_at_eta: the noise of one
    that uses none unless its setting eta is above 0; it then runs on levels."""

    fn: Callable[..., Sampler]
    noise: str = NO_NOISE
    needs_uncond: bool = False
    redraws_outside_mask: bool = False
    span: tuple[float, float] | None = None
    takes_path: bool = False
    on_levels: bool = False
    numbers: tuple[str, ...] = ()
    given: Mapping[str, float] = field(default_factory=dict)
    noise_at_eta: str = NO_NOISE

    def with_numbers(self, numbers: Mapping[str, float]) -> SamplerDef:
        """Raises RunError for a setting that this sampler does not have."""
        unknown = sorted(set(numbers) - set(self.numbers))
        if unknown:
            expected = ", ".join(self.numbers) or "none"
            raise RunError(f"the sampler has no setting {', '.join(unknown)}", expected=expected, hint="recompile")
        if not numbers:
            return self
        given = {name: float(number) for name, number in numbers.items()}
        wakes = self.noise == NO_NOISE and given.get("eta", 0.0) > 0
        noise = self.noise_at_eta if wakes else self.noise
        return replace(self, given=given, noise=noise, on_levels=self.on_levels or wakes)

    def start(self, x: Tensor, sigmas: Tensor, noise: StepNoise | None, model: ModelSampling) -> Sampler:
        """A sampler at its beginning. noise: needed unless self.noise is "none"."""
        arguments: list[object] = [x, sigmas]
        if self.noise != NO_NOISE:
            assert noise is not None, "a stochastic sampler was started without noise"
            arguments.append(noise)
        if self.span is not None:
            high, low = (model.percent_to_sigma(percent) for percent in self.span)
            arguments.append((high, low))
        path = {"path": model} if self.takes_path else {}
        if not self.on_levels:
            return self.fn(*arguments, **path, **self.given)
        rest = arguments[2:]
        return on_levels(lambda y, levels: self.fn(y, levels, *rest, **path, **self.given), x, sigmas, model)


def on_levels(run: Callable[[Tensor, Tensor], Sampler], x: Tensor, sigmas: Tensor, path: Path) -> Sampler:
    """A sampler of x0 + s * noise on any path, with y = x / alpha(sigma) for its x and s = sigma / alpha(sigma).

    run(y, levels): the sampler at its beginning. Noise that it adds is of a deviation in s, and shrinks with y."""
    sigmas = path.with_finite_snr(sigmas)
    alphas = path.alpha(sigmas)
    if bool((alphas == 1.0).all()):
        return (yield from run(x, sigmas))
    levels = sigmas / alphas
    known = {float(level): sigma for level, sigma in zip(levels, sigmas, strict=True)}  # as the schedule writes them
    sampler = run(x / alphas[0], levels)
    try:
        y, level = next(sampler)
        while True:
            sigma = known[float(level)] if float(level) in known else path.sigma_of(level.log().neg())
            prediction = yield path.alpha(sigma) * y, sigma
            y, level = sampler.send(prediction)
    except StopIteration as end:
        result: Tensor = alphas[-1] * end.value
        return result


def slope(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx/dsigma of the probability flow ODE. Source: Karras et al. 2022, arXiv 2206.00364, eq. 3 with eq. 1's score."""
    return (x - denoised) / sigma


def ancestral_step(sigma: Tensor, sigma_next: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Splits a step into a deterministic part down to sigma_down and fresh noise of sigma_up: (sigma_down, sigma_up).

    sigma_down^2 + sigma_up^2 = sigma_next^2. eta = 1 is DDPM's posterior variance.
    Source: Song et al. 2021 (DDIM), arXiv 2010.02502, eq. 16, in sigma = sqrt((1 - a) / a)."""
    up = eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
    up = up.minimum(sigma_next)
    return (sigma_next**2 - up**2) ** 0.5, up


def renoised(
    path: Path, sigma: Tensor, sigma_next: Tensor, eta: float = 1.0
) -> tuple[Tensor, Tensor | float, Tensor | float]:
    """ancestral_step on any path: (sigma_down, sigma_up, kept), x at sigma_next being kept * x at sigma_down + fresh
    noise of sigma_up.

    A path that shrinks its data needs kept: what is left of the data at sigma_down is more than at sigma_next."""
    alpha, alpha_next = path.alpha(sigma), path.alpha(sigma_next)
    if bool(alpha == 1.0) and bool(alpha_next == 1.0):
        return *ancestral_step(sigma, sigma_next, eta), 1.0
    down = sigma_next * (1 + (sigma_next / sigma - 1) * eta)
    kept = alpha_next / path.alpha(down)
    up = (sigma_next**2 - down**2 * kept**2).clamp(min=0.0) ** 0.5
    return down, up, kept


def log_snr(sigma: Tensor) -> Tensor:
    """The time of exponential integrators of the probability flow, lambda = -log sigma: half the log signal-to-noise
    ratio of x = x0 + sigma * noise, and good for other paths too, since their flow is the same in sigma. Samplers that
    add noise take the path's own (runtime.sampling.model_sampling.Path)."""
    return sigma.log().neg()


def from_log_snr(lam: Tensor) -> Tensor:
    return lam.neg().exp()
