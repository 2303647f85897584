"""Adams-Bashforth on the slopes: with the weights of even steps (iPNDM), of the real steps (iPNDM-v), and DEIS.

Source: Zhang & Chen 2022, "Fast Sampling of Diffusion Models with Exponential Integrator", arXiv 2204.13902: eq. 15 and
appendix H.2 for iPNDM, section 3.3 for DEIS (tAB: polynomials in the time of a VP process, here with the betas that map
sigma 0.002..80 to time 0.001..1); iPNDM-v as in diff-sampler (Zhou et al., Apache-2.0).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from runtime.sampling.sampler import slope

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from torch import Tensor

    from runtime.sampling.sampler import Sampler

# newest slope first, in steps
EVEN_WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
DEIS_ORDER = 3
DEIS_POINTS = 10000
VP_END_TIME, VP_SIGMAS = 0.001, (0.002, 80.0)


def ipndm(x: Tensor, sigmas: Tensor) -> Sampler:
    def weights(times: list[float], i: int, order: int) -> list[float]:
        return [w * (times[i + 1] - times[i]) for w in EVEN_WEIGHTS[order - 1]]

    return (yield from _adams(x, sigmas, 4, weights))


def ipndm_v(x: Tensor, sigmas: Tensor) -> Sampler:
    def weights(times: list[float], i: int, order: int) -> list[float]:
        steps = [times[i + 1 - k] - times[i - k] for k in range(order)]
        return [steps[0] * w for w in _uneven_weights(steps)]

    return (yield from _adams(x, sigmas, 4, weights))


def deis(x: Tensor, sigmas: Tensor) -> Sampler:
    def weights(times: list[float], i: int, order: int) -> list[float]:
        if order == 1:
            return [times[i + 1] - times[i]]
        return _deis_weights(times[i - order + 1 : i + 2])

    return (yield from _adams(x, sigmas, DEIS_ORDER, weights))


def _adams(x: Tensor, sigmas: Tensor, most: int, weights: Callable[[list[float], int, int], list[float]]) -> Sampler:
    times = [float(s) for s in sigmas]
    slopes: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        denoised = (yield x, sigmas[i]).denoised
        if sigmas[i + 1] == 0:
            return denoised
        slopes = [slope(x, sigmas[i], denoised), *slopes][:most]
        for weight, d in zip(weights(times, i, len(slopes)), slopes, strict=True):
            x = x + weight * d
    return x


def _uneven_weights(steps: list[float]) -> list[float]:
    """The weights of iPNDM-v, newest slope first, from the coming step and the ones before it.

    They are meant as variable-step Adams-Bashforth in differences of slopes, and are kept as diff-sampler has them, for
    pictures depend on it: from order 3 on they differ from the derivation (lms has that), on even steps from order 4.
    """
    if len(steps) == 1:
        return [1.0]
    h, h1, *older = steps
    weights = [1 + h / h1 / 2, -h / h1 / 2]
    if not older:
        return weights
    h2, *older = older
    ratio = h1 / h2
    second = (1 - h / (3 * (h + h1)) * (h * (h + h1)) / (h1 * (h1 + h2))) / 2
    weights = [weights[0] + second, weights[1] - (1 + ratio) * second, ratio * second]
    if not older:
        return weights
    (h3,) = older
    reach = (h * (h + h1) * (h + h1 + h2)) / (h1 * (h1 + h2) * (h1 + h2 + h3))
    third = ((1 - h / (3 * (h + h1))) / 2 + (1 - h / (2 * (h + h1))) * h / (6 * (h + h1 + h2))) * reach
    q = h1 * (h1 + h2) / (h2 * (h2 + h3))
    return [
        weights[0] + third,
        weights[1] - (1 + ratio + q) * third,
        weights[2] + (ratio + q * (1 + h2 / h3)) * third,
        -q * ratio * third,
    ]


def _deis_weights(sigmas: list[float]) -> list[float]:
    """The weights of the slopes at sigmas[:-1] for the step to sigmas[-1], newest first."""
    low, high = (math.log(s**2 + 1) for s in VP_SIGMAS)
    spread = 2 * (low / VP_END_TIME - high) / (VP_END_TIME - 1)
    start = high - 0.5 * spread
    log_variance = np.log(np.asarray(sigmas) ** 2 + 1)
    times = (np.sqrt(start**2 + 2 * spread * log_variance) - start) / spread
    *past, now, end = times.tolist()
    nodes = [now, *reversed(past)]
    taus = np.linspace(now, end, DEIS_POINTS)
    rate = start + spread * taus
    alpha = np.exp(-0.5 * spread * taus**2 - start * taus)
    integrand = 0.5 * rate / np.sqrt(alpha * (1 - alpha))
    return [float((integrand * _basis(nodes, j, taus)).sum() * (end - now) / DEIS_POINTS) for j in range(len(nodes))]


def _basis(nodes: list[float], j: int, taus: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result = np.ones_like(taus)
    for k, node in enumerate(nodes):
        if k != j:
            result = result * (taus - node) / (nodes[j] - node)
    return result
