"""A world for images: a Gaussian mixture in the leading directions, one Gaussian in all others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ambient.paths import Level, in_own_precision
from ambient.worlds import GaussianMixture, World


class SubspaceMixture(World):
    """X_0 = centre + V (Y, R): Y (L,) from a Gaussian mixture, R_j ~ N(0, c_j) independent of it, V orthonormal.

    The noise is as white in the coordinates V^T x, so both parts are denoised apart, and the posterior of the component sees
    Y alone. A mixture of D x D covariances that agree outside the L directions, at (L / D)^2 of its cost.
    Checked by: theory_checks/test_subspace.py

    Args: mixture of L-dimensional components; basis V (D, D), the leading directions first; rest c (D - L,); centre (D,).
    Raises: ValueError for shapes that do not fit, a basis that is not orthonormal, variances that are not positive, and values
    that are not finite.
    """

    @in_own_precision
    def __init__(self, mixture: GaussianMixture, basis: Tensor, rest: Tensor, centre: Tensor):
        self.mixture, self.basis, self.rest, self.centre = mixture, basis, rest, centre
        self.leading, dim = mixture.means.shape[1], len(centre)
        if centre.ndim != 1 or basis.shape != (dim, dim) or rest.shape != (dim - self.leading,):
            found = f"{tuple(centre.shape)}, {tuple(basis.shape)} and {tuple(rest.shape)}"
            raise ValueError(
                f"need a centre ({dim},), a basis ({dim}, {dim}) and variances ({dim} - {self.leading},); got {found}"
            )
        if not torch.allclose(basis.T @ basis, torch.eye(dim, dtype=basis.dtype), atol=1e-3):
            raise ValueError("the basis must be orthonormal")
        if not bool(((rest > 0) & rest.isfinite()).all() and centre.isfinite().all()):
            raise ValueError("the centre must be finite, the variances outside the leading directions positive and finite")

    @in_own_precision
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        y = self.mixture.sample(count, generator)
        r = self.rest.sqrt() * torch.randn(count, len(self.rest), dtype=self.rest.dtype, generator=generator)
        return self.centre + torch.cat([y, r], 1) @ self.basis.T

    @in_own_precision
    def _parts(self, x_t: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
        if x_t.ndim != 2 or x_t.shape[1] != len(self.centre):
            raise ValueError(f"this mixture lives in {len(self.centre)} dimensions; got points of shape {tuple(x_t.shape)}")
        x = x_t.to(self.centre)
        coordinates = (x - at_t.like(x).alpha * self.centre) @ self.basis
        return coordinates[:, : self.leading], coordinates[:, self.leading :]

    def log_prob(self, x_t: Tensor, at_t: Level) -> Tensor:
        y, r = self._parts(x_t, at_t)
        alpha, sigma = at_t.like(r)
        total = alpha**2 * self.rest + sigma**2
        outside = -0.5 * (r**2 / total + total.log() + math.log(2 * math.pi)).sum(1)
        return (self.mixture.log_prob(y, at_t) + outside).to(x_t.dtype)

    @in_own_precision
    def denoise(self, x_t: Tensor, at_t: Level) -> Tensor:
        y, r = self._parts(x_t, at_t)
        alpha, sigma = at_t.like(r)
        shrunk = alpha * self.rest / (alpha**2 * self.rest + sigma**2) * r
        return (self.centre + torch.cat([self.mixture.denoise(y, at_t), shrunk], 1) @ self.basis.T).to(x_t.dtype)
