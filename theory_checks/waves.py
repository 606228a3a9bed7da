"""Arbitrary denoisers, for statements about any h, and quadrature rules for their expectations.

They are entire functions of slow variation, so Gauss-Hermite rules converge faster than geometrically (the remainder for
cos(w z) with m nodes is below m! w^(2m) / (2m)!), and expectations over the clean point and its noises together, up to four
coordinates, are affordable. Errors come from doubling the nodes, as in `quadrature`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from ambient.paths import Times
from ambient.worlds import GaussianMixture
from theory_checks.strategies import floats


class Wave(NamedTuple):
    """h(x, t) = A x + b + B sin(W x + t) for A (D, D), b (D,), B (D, F), W (F, D)."""

    linear: Tensor
    shift: Tensor
    out: Tensor
    frequency: Tensor

    def __call__(self, x: Tensor, t: Times, condition: Any = None) -> Tensor:
        return x @ self.linear.T + self.shift + torch.sin(self.phase(x, t)) @ self.out.T

    def phase(self, x: Tensor, t: Times) -> Tensor:
        return x @ self.frequency.T + torch.as_tensor(t, dtype=x.dtype).reshape(-1, 1)

    def divergence(self, x: Tensor, t: Times, smoothing: float = 0.0) -> Tensor:
        """div h at x + smoothing Z, averaged over Z: E cos(w . (x + e Z) + t) = exp(-e^2 |w|^2 / 2) cos(w . x + t)."""
        damping = torch.exp(-(smoothing**2) * self.frequency.square().sum(1) / 2)
        return self.linear.trace() + torch.cos(self.phase(x, t)) @ (damping * (self.frequency @ self.out).diagonal())


@st.composite
def waves(draw: st.DrawFn, size: int) -> Wave:
    """Two waves in each coordinate, every entry in [-1, 1], frequencies in [-.7, .7]."""

    def matrix(*shape: int) -> Tensor:
        count = int(np.prod(shape))
        return torch.tensor(draw(st.lists(floats(-1.0, 1.0), min_size=count, max_size=count)), dtype=torch.float64).reshape(shape)

    return Wave(matrix(size, size), matrix(size), matrix(size, 2), 0.7 * matrix(2, size))


def _wave(*entries: list[Any]) -> Wave:
    return Wave(*(torch.tensor(entry, dtype=torch.float64) for entry in entries))


WAVES = {  # one for each dimension, on which mutants are tried
    1: _wave([[0.6]], [0.2], [[0.4, -0.3]], [[0.9], [-0.5]]),
    2: _wave([[0.5, 0.4], [-0.2, 0.7]], [0.1, -0.3], [[0.5, 0.2], [-0.3, 0.6]], [[0.8, -0.4], [0.3, 0.9]]),
}


@functools.cache
def hermite_rule(size: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes (M, size) and weights (M,) of an expectation over N(0, I), exact up to degree 2 nodes - 1 in each coordinate."""
    points, weights = (torch.from_numpy(values) for values in np.polynomial.hermite_e.hermegauss(nodes))
    z = torch.cartesian_prod(*[points] * size).reshape(-1, size)
    weight = torch.cartesian_prod(*[weights / weights.sum()] * size).reshape(-1, size).prod(1)
    keep = weight > 1e-20
    return z[keep], weight[keep]


def point_and_noise(law: GaussianMixture, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes of a draw from `law` (M, D) and of an independent standard normal (M, D), with their weights (M,)."""
    size = law.means.shape[1]
    z, weights = hermite_rule(2 * size, nodes)
    x = law.means[:, None] + torch.einsum("kij,mj->kmi", torch.linalg.cholesky(law.covariances), z[:, :size])
    noise = z[:, size:].expand(len(law.means), -1, -1)
    return x.flatten(0, 1), noise.flatten(0, 1), (law.weights[:, None] * weights).flatten()
