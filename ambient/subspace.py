"""A world for images: a Gaussian mixture in a few leading directions and one Gaussian in all other directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ambient.paths import Level, without_autocast
from ambient.worlds import GaussianMixture, World


class SubspaceMixture(World):
    """X_0 = centre + V [Y, R], where Y (L,) is from a Gaussian mixture and R_j ~ N(0, c_j) is independent of Y.

    V is orthonormal, so white noise stays white in the coordinates V^T x. Therefore Y and R are denoised separately, and the
    posterior of the component depends on Y alone. The distribution is a Gaussian mixture in D dimensions whose covariances are
    the same outside the L leading directions, the first columns of V. For K components, denoising a point takes about D^2 + K L^2
    operations, where a dense mixture takes K D^2.

    Args: mixture: the distribution of Y, in L dimensions; basis: V, (D, D); rest_variances: c, (D - L,); centre: (D,).
    Raises: ValueError for shapes that do not fit, a basis that is not orthonormal, variances that are not positive, and values
    that are not finite.
    Checked by: theory_checks/test_subspace.py
    """

    @without_autocast
    def __init__(self, mixture: GaussianMixture, basis: Tensor, rest_variances: Tensor, centre: Tensor):
        self.mixture, self.basis, self.rest_variances, self.centre = mixture, basis, rest_variances, centre
        self.leading_count, dim = mixture.means.shape[1], len(centre)
        if centre.ndim != 1 or basis.shape != (dim, dim) or rest_variances.shape != (dim - self.leading_count,):
            needed = f"a centre ({dim},), a basis ({dim}, {dim}) and variances ({dim} - {self.leading_count},)"
            shapes = f"{tuple(centre.shape)}, {tuple(basis.shape)} and {tuple(rest_variances.shape)}"
            raise ValueError(f"need {needed}; got {shapes}")
        if not torch.allclose(basis.T @ basis, torch.eye(dim, dtype=basis.dtype), atol=1e-3):
            largest = float((basis.T @ basis - torch.eye(dim, dtype=basis.dtype)).abs().max())
            raise ValueError(f"the basis must be orthonormal; V^T V differs from the identity by up to {largest:.3g}")
        if not bool(((rest_variances > 0) & rest_variances.isfinite()).all() and centre.isfinite().all()):
            raise ValueError("the centre must be finite, the variances outside the leading directions positive and finite")

    @without_autocast
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        y = self.mixture.sample(count, generator)
        c = self.rest_variances
        r = c.sqrt() * torch.randn(count, len(c), dtype=c.dtype, generator=generator)
        return self.centre + torch.cat([y, r], 1) @ self.basis.T

    @without_autocast
    def _coordinates(self, x_t: Tensor, at_t: Level) -> tuple[Tensor, Tensor]:
        """The centred coordinates of x_t (B, D) along the leading directions, (B, L), and along all others, (B, D - L)."""
        if x_t.ndim != 2 or x_t.shape[1] != len(self.centre):
            raise ValueError(f"x_t must have the shape (B, {len(self.centre)}), as the centre; got {tuple(x_t.shape)}")
        x = x_t.to(self.centre)
        coordinates = (x - at_t.like(x).alpha * self.centre) @ self.basis  # (B, D)
        return coordinates[:, : self.leading_count], coordinates[:, self.leading_count :]

    def log_prob(self, x_t: Tensor, at_t: Level) -> Tensor:
        y, r = self._coordinates(x_t, at_t)
        alpha, sigma = at_t.like(r)
        variances = alpha**2 * self.rest_variances + sigma**2
        outside = -0.5 * (r**2 / variances + variances.log() + math.log(2 * math.pi)).sum(1)
        return (self.mixture.log_prob(y, at_t) + outside).to(x_t.dtype)

    @without_autocast
    def denoise(self, x_t: Tensor, at_t: Level) -> Tensor:
        y, r = self._coordinates(x_t, at_t)
        alpha, sigma = at_t.like(r)
        shrunk = alpha * self.rest_variances / (alpha**2 * self.rest_variances + sigma**2) * r
        return (self.centre + torch.cat([self.mixture.denoise(y, at_t), shrunk], 1) @ self.basis.T).to(x_t.dtype)
