"""Linear multistep: the slopes of the last steps, continued by their Lagrange polynomial in sigma.

Source: Adams-Bashforth with variable steps (Hairer, Norsett, Wanner, "Solving ODEs I", III.5), in Karras' variables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime.sampling.sampler import slope

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.sampling.sampler import Sampler

ORDER = 4


def adams_weights(nodes: list[float], start: float, end: float) -> list[float]:
    """The integral over [start, end] of each Lagrange basis polynomial on nodes, exact: as many Gauss points as its
    degree asks for."""
    points, weights = np.polynomial.legendre.leggauss(max(3, (len(nodes) + 1) // 2))
    half = 0.5 * (end - start)
    taus = start + half * (points + 1)
    result = []
    for j, node in enumerate(nodes):
        basis = np.ones_like(taus)
        for k, other in enumerate(nodes):
            if k != j:
                basis = basis * (taus - other) / (node - other)
        result.append(float(half * (weights * basis).sum()))
    return result


def lms(x: Tensor, sigmas: Tensor, order: float = ORDER) -> Sampler:
    """order: how many slopes count."""
    times = [float(s) for s in sigmas]
    slopes: list[Tensor] = []  # newest first
    for i in range(len(sigmas) - 1):
        denoised = (yield x, sigmas[i]).denoised
        slopes = [slope(x, sigmas[i], denoised), *slopes][: int(order)]
        nodes = [times[i - k] for k in range(len(slopes))]
        for weight, d in zip(adams_weights(nodes, times[i], times[i + 1]), slopes, strict=True):
            x = x + weight * d
    return x
